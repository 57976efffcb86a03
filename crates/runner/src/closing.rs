//! After the main turn: the diary and the ratings, in the same conversation, because who rates must have been there.
//!
//! What the persona says about the product is checked against what happened, without a model. What does not hold is asked
//! for once more; what does not hold then is kept as unreadable, with the reason and without a number.

use std::sync::Arc;

use serde_json::Value;

use crate::conversation::{Conversation, Role, spoken, text_block, tool_results};
use crate::error::Error;
use crate::progress::{Entry, MainEnd, Next, Phase};
use crate::prompt::{self, Checked, Memory, Rated, UsedModule};
use crate::rehearsal::dice::Dice;
use crate::rehearsal::lang_of;
use crate::turn::{CLOSING_TOKENS, Spoken, Turn};
use crate::wire::{Feedback, PARSE};

/// How many replies a closing question may take: some models cannot leave their tools alone.
const REPLIES: usize = 3;

/// How many tokens the story may have; it has 180 words.
const STORY_TOKENS: u32 = 1_024;

/// What came of the closing.
pub(crate) enum Closing {
    /// The ratings, and what stands in place of those that could not be read.
    Rated(Vec<Feedback>),
    /// The runner stops; the journal is complete.
    Stopped,
}

/// What came of one question.
enum Answer {
    Said(String),
    /// There is no answer, for this reason.
    None(String),
    Stopped,
}

impl Turn<'_> {
    /// Asks for the diary and for the ratings of everything that was used.
    pub(crate) async fn close(&mut self, ended: MainEnd, dice: &mut Dice) -> Result<Closing, Error> {
        let lang = lang_of(&self.claim.persona);
        let used = UsedModule::of(&self.progress.actions);
        if used.is_empty() {
            return Ok(Closing::Rated(Vec::new()));
        }
        let request = prompt::rating_request(lang, &used, dice);
        if self.progress.phase == Phase::Main {
            self.ask(Phase::Diary, prompt::diary_question(lang), ended);
        }
        if self.progress.phase == Phase::Diary {
            match self.hear(CLOSING_TOKENS[0], None, &CLOSING_TOKENS[1..]).await? {
                Answer::Said(_) => self.ask(Phase::Rating, request.message, ended),
                Answer::None(reason) => return Ok(unreadable(Vec::new(), &reason)),
                Answer::Stopped => return Ok(Closing::Stopped),
            }
        }
        let diary = self.progress.said_in(Phase::Diary).unwrap_or_default().to_owned();
        let schema = Some(&request.schema);
        if self.progress.phase == Phase::Rating {
            match self.hear(CLOSING_TOKENS[1], schema, &[]).await? {
                Answer::Said(_) => {}
                Answer::None(reason) => return Ok(unreadable(Vec::new(), &reason)),
                Answer::Stopped => return Ok(Closing::Stopped),
            }
        }
        let answer = self.progress.said_in(Phase::Rating).unwrap_or_default().to_owned();
        let first = self.check(&answer, &used, &diary);
        if first.is_clean() {
            return Ok(Closing::Rated(rows(first.good)));
        }
        if self.progress.phase == Phase::Rating {
            self.ask(Phase::Repair, prompt::repair_request(lang, &first), ended);
        }
        let missing = |module: &UsedModule| first.good.iter().all(|rated| rated.module != module.module);
        let missing: Vec<UsedModule> = used.into_iter().filter(missing).collect();
        match self.hear(CLOSING_TOKENS[1], schema, &[]).await? {
            Answer::Said(again) => {
                let second = self.check(&again, &missing, &diary);
                let clean = second.is_clean();
                let reason = second.reason();
                let good = rows(first.good.into_iter().chain(second.good).collect());
                Ok(if clean { Closing::Rated(good) } else { unreadable(good, &reason) })
            }
            Answer::None(why) => {
                let reason = format!("{}; asked again: {why}", first.reason());
                Ok(unreadable(rows(first.good), &reason))
            }
            Answer::Stopped => Ok(Closing::Stopped),
        }
    }

    fn ask(&mut self, phase: Phase, message: String, ended: MainEnd) {
        self.progress.note(Entry::Ask { phase, message, ended });
    }

    /// Waits for the answer to a closing question. Calls are answered without being made: the day is over.
    async fn hear(&mut self, max_tokens: u32, format: Option<&Value>, closing: &[u32]) -> Result<Answer, Error> {
        loop {
            match self.progress.next() {
                Next::Begin => return Ok(Answer::None("nothing was asked".into())),
                Next::Answer { calls, .. } => {
                    if self.leave(&calls, "the day is over: answer in words", None) {
                        return Ok(Answer::None("two calls had the same id".into()));
                    }
                }
                Next::Speak if self.progress.replies >= REPLIES || self.progress.cut > 1 => {
                    // A list of ratings counts as far as it goes.
                    let phase = self.progress.phase;
                    let cut = if phase == Phase::Diary { None } else { self.progress.said_in(phase) };
                    let none = || Answer::None("the answer had no end".into());
                    return Ok(cut.map_or_else(none, |said| Answer::Said(said.to_owned())));
                }
                Next::Speak => {
                    if self.stop.is_cancelled() {
                        self.flush().await?;
                        return Ok(Answer::Stopped);
                    }
                    match self.speak(max_tokens, format, closing).await? {
                        Spoken::Replied => {}
                        Spoken::NoMoney(reason) => return Ok(Answer::None(reason)),
                        Spoken::Failed(error) => return Ok(Answer::None(error.reason)),
                        Spoken::Stopped => return Ok(Answer::Stopped),
                    }
                }
                Next::Over(MainEnd::Refused) => return Ok(Answer::None("the model refused".into())),
                Next::Over(_) => {
                    let said = self.progress.said_in(self.progress.phase);
                    return Ok(said.map_or_else(
                        || Answer::None("the answer was empty".into()),
                        |said| Answer::Said(said.to_owned()),
                    ));
                }
            }
        }
    }

    fn check(&self, answer: &str, used: &[UsedModule], diary: &str) -> Checked {
        let messages = &self.progress.conversation.messages;
        let results: Vec<&str> =
            messages.iter().flat_map(|message| tool_results(&message.content)).map(|result| result.text).collect();
        prompt::check(answer, used, diary, &results)
    }

    /// Has the persona's story told anew, in a conversation of its own. Where that fails the old story stays.
    pub(crate) async fn tell_story(&mut self, memory: &Memory) -> Result<(), Error> {
        let lang = lang_of(&self.claim.persona);
        let today = self.progress.said_in(Phase::Diary).or_else(|| self.progress.said_in(Phase::Main));
        let lines = memory.ledger(lang, &self.claim.tick_id, today.unwrap_or_default());
        let previous = memory.story_text();
        let (rules, message) = prompt::story_request(lang, previous, &lines);
        let mut conversation = Conversation::new(Arc::default());
        conversation.rules = rules.into();
        conversation.say(Role::User, vec![text_block(&message)]);
        let told = match self.speak_apart(&conversation, STORY_TOKENS).await? {
            Ok(reply) => prompt::check_story(&spoken(&reply.content), &prompt::story_marks(previous, &lines)),
            Err(reason) => Err(reason),
        };
        match told {
            Ok(text) => self.progress.note(Entry::Story { text }),
            Err(reason) => tracing::info!(tick = %self.claim.tick_id, %reason, "runner.story.kept"),
        }
        Ok(())
    }
}

fn rows(rated: Vec<Rated>) -> Vec<Feedback> {
    let row = |rated: Rated| Feedback {
        module: rated.module,
        rating: rated.rating,
        no_opinion: rated.no_opinion,
        notes: rated.notes,
        evidence: rated.evidence,
        quote: rated.quote,
        confidence: rated.confidence,
        simulated: false,
    };
    rated.into_iter().map(row).collect()
}

/// What could be read, and one row that says why the rest could not.
fn unreadable(mut good: Vec<Feedback>, reason: &str) -> Closing {
    good.push(Feedback {
        module: PARSE.into(),
        rating: None,
        no_opinion: None,
        notes: Some(reason.chars().take(2_000).collect()),
        evidence: Vec::new(),
        quote: None,
        confidence: None,
        simulated: false,
    });
    Closing::Rated(good)
}
