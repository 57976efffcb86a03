// A model that lives the day of `day.json`, and the two turns that no fixed text can say: the call that goes on with an id
// it was given, and the ratings that rest on the numbers it was shown.
//
//     AIMOCK_STRICT_TURN_INDEX=1 node model.mjs DAY
//
// Prints its address and serves until it is ended.
import { LLMock } from "@copilotkit/aimock";

const usage = { input_tokens: 2600, output_tokens: 90 };

// The outermost id of a value.
function idIn(value) {
  if (value === null || typeof value !== "object") return undefined;
  if (typeof value.id === "string") return value.id;
  return Object.values(value).map(idIn).find(Boolean);
}

function goOn(request) {
  const created = request.messages.filter((message) => message.role === "tool").at(-1);
  const id = idIn(JSON.parse(created.content));
  if (!id) throw new Error(`no id in ${created.content}`);
  return { toolCalls: [{ name: "todo_complete", arguments: JSON.stringify({ taskId: id }) }], usage };
}

// Lines such as "- 2: `todo_create`, worked": the number, and the module of the tool.
function numbers(request, module) {
  const asked = request.messages.filter((message) => message.role === "user");
  const lists = asked.map(({ content }) =>
    [...content.matchAll(/^\W*(\d+)\W+([a-z]+)_[a-z_]+/gm)].filter((line) => line[2] === module).map((line) => Number(line[1])),
  );
  return lists.findLast((list) => list.length > 0) ?? [];
}

function rate(request) {
  const row = (module, rating, quote, confidence) => ({
    module, rating, noOpinion: null, notes: `What I needed of ${module} was there.`, evidence: numbers(request, module), quote, confidence,
  });
  const ratings = [
    row("notes", 3, "The notes were empty, but quick to look at.", 0.5),
    row("todo", 5, 'The list of tasks did "exactly that", und ich konnte es abhaken.', 1),
  ];
  return { content: JSON.stringify({ ratings }), usage };
}

const mock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 7, strict: true, logLevel: "warn" });
mock.loadFixtureFile(process.argv[2]);
mock.on({ turnIndex: 2 }, goOn);
mock.on({ turnIndex: 5 }, rate);
mock.on({ turnIndex: 6 }, rate); // asked once more
await mock.start();
console.log(mock.url);
