//! Invoices. The stories begin on 18 November 2026.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::{World, each_world};

const DAY: i64 = 24 * 3_600_000;

async fn client(world: &World) -> Value {
    let client =
        json!({ "name": "Lüders & Söhne", "address": "Gerberweg 21\n50667 Köln", "vatId": "DE123", "paymentDays": 7 });
    world.ok("invoices_client_create", client).await
}

async fn draft(world: &World, client: &Value) -> Value {
    let lines = json!([
        { "title": "Firmenporträts", "qty": 2.5, "unitPrice": 12_000, "vatRate": 1900 },
        { "title": "Anfahrt", "unitPrice": 1250, "vatRate": 1900 },
        { "title": "Buch", "qty": 3, "unitPrice": 999, "vatRate": 700 },
    ]);
    world.ok("invoices_create", json!({ "clientId": client["id"], "lines": lines })).await
}

fn rule(result: Result<Value, ToolError>) -> &'static str {
    result.expect_err("a rule says no").code()
}

#[tokio::test]
async fn an_invoice_goes_from_draft_to_paid() {
    each_world(|world| async move {
        let client = client(&world).await;
        world.ok("invoices_sender_set", json!({ "name": "Anna Berg", "account": "DE00 1234" })).await;
        let draft = draft(&world, &client).await;
        let totals = json!({
            "net": 34_247, "vat": 5700 + 238 + 210, "gross": 40_395,
            "byRate": [{ "vatRate": 700, "net": 2997, "vat": 210 }, { "vatRate": 1900, "net": 31_250, "vat": 5938 }],
        });
        assert_eq!((&draft["totals"], &draft["status"], draft.get("number")), (&totals, &json!("draft"), None));
        assert_eq!(draft["lines"][0]["qty"], json!(2.5));
        let id = &draft["id"];
        assert_eq!(rule(world.call("invoices_mark_paid", json!({ "invoiceId": id })).await), "not-sent");
        assert_eq!(rule(world.call("invoices_void", json!({ "invoiceId": id })).await), "not-sent");
        world.ok("invoices_update", json!({ "invoiceId": id, "notes": "Danke" })).await;
        world.ok("invoices_client_update", json!({ "clientId": client["id"], "address": "Neu 1" })).await;
        assert_eq!(world.ok("invoices_get", json!({ "invoiceId": id })).await["client"]["address"], "Neu 1");
        let sent = world.ok("invoices_send", json!({ "invoiceId": id })).await;
        assert_eq!(
            (&sent["number"], &sent["issued"], &sent["due"]),
            (&json!("2026-0001"), &json!("2026-11-18"), &json!("2026-11-25"))
        );
        assert_eq!(world.ok("invoices_send", json!({ "invoiceId": id })).await["rev"], sent["rev"]);
        assert_eq!(rule(world.call("invoices_update", json!({ "invoiceId": id, "notes": "x" })).await), "already-sent");
        assert_eq!(rule(world.call("invoices_archive", json!({ "invoiceId": id })).await), "already-sent");
        world.ok("invoices_client_update", json!({ "clientId": client["id"], "address": "Noch neuer 2" })).await;
        world.ok("invoices_client_archive", json!({ "clientId": client["id"] })).await;
        let seen = world.ok("invoices_get", json!({ "invoiceId": id })).await;
        assert_eq!((&seen["client"]["address"], &seen["sender"]["account"]), (&json!("Neu 1"), &json!("DE00 1234")));
        assert_eq!(
            world.wrong_fields("invoices_mark_paid", json!({ "invoiceId": id, "paidOn": "2026-11-17" })).await,
            ["paidOn"]
        );
        assert_eq!(
            world.wrong_fields("invoices_mark_paid", json!({ "invoiceId": id, "paidOn": "2026-11-19" })).await,
            ["paidOn"]
        );
        world.test.clock.advance_millis(8 * DAY);
        let overdue = world.ok("invoices_list", json!({ "status": "overdue" })).await;
        assert_eq!((&overdue["items"][0]["id"], &overdue["items"][0]["status"]), (id, &json!("overdue")));
        assert_eq!(world.ok("invoices_list", json!({ "status": "sent" })).await["items"], json!([]));
        assert_eq!(world.ok("invoices_stats", json!({})).await["byCurrency"][0]["overdue"], 40_395);
        let paid = world.ok("invoices_mark_paid", json!({ "invoiceId": id, "paidOn": "2026-11-20" })).await;
        assert_eq!((&paid["status"], &paid["paidOn"]), (&json!("paid"), &json!("2026-11-20")));
        assert_eq!(world.ok("invoices_mark_paid", json!({ "invoiceId": id })).await["paidOn"], "2026-11-20");
        assert_eq!(rule(world.call("invoices_void", json!({ "invoiceId": id })).await), "already-paid");
        assert_eq!(world.ok("invoices_list", json!({ "query": "lüders" })).await["items"][0]["id"], *id);
    })
    .await;
}

#[tokio::test]
async fn numbers_have_no_gaps_and_begin_anew_each_year() {
    each_world(|world| async move {
        let client = client(&world).await;
        let thrown_away = draft(&world, &client).await;
        world.ok("invoices_archive", json!({ "invoiceId": thrown_away["id"] })).await;
        assert_eq!(rule(world.call("invoices_send", json!({ "invoiceId": thrown_away["id"] })).await), "archived");
        let late = draft(&world, &client).await;
        world.ok("invoices_update", json!({ "invoiceId": late["id"], "due": "2026-11-01" })).await;
        assert_eq!(rule(world.call("invoices_send", json!({ "invoiceId": late["id"] })).await), "due-passed");
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let invoice = draft(&world, &client).await;
            let dry = world.ok("invoices_send", json!({ "invoiceId": invoice["id"], "dryRun": true })).await;
            let sent = world.ok("invoices_send", json!({ "invoiceId": invoice["id"] })).await;
            assert_eq!(dry["number"], sent["number"], "a number of a dry run is not used up");
            numbers.push(sent["number"].as_str().expect("a number").to_owned());
        }
        assert_eq!(numbers, ["2026-0001", "2026-0002", "2026-0003"]);
        world.ok("invoices_update", json!({ "invoiceId": late["id"], "clear": ["due"] })).await;
        world.test.clock.advance_millis(60 * DAY);
        assert_eq!(world.ok("invoices_send", json!({ "invoiceId": late["id"] })).await["number"], "2027-0001");
        let other = world.somebody_else().await;
        let theirs = draft(&other, &self::client(&other).await).await;
        assert_eq!(other.ok("invoices_send", json!({ "invoiceId": theirs["id"] })).await["number"], "2027-0001");
    })
    .await;
}

#[tokio::test]
async fn two_at_once_get_two_numbers() {
    each_world(|world| async move {
        let client = client(&world).await;
        let (first, second) = (draft(&world, &client).await, draft(&world, &client).await);
        let send = |id: Value| {
            let world = world.clone();
            Box::pin(async move { world.call("invoices_send", json!({ "invoiceId": id })).await })
        };
        let (a, b, again) =
            futures::join!(send(first["id"].clone()), send(second["id"].clone()), send(first["id"].clone()));
        let mut numbers: Vec<String> = [a, b, again]
            .into_iter()
            .flatten()
            .map(|sent| sent["number"].as_str().expect("a number").to_owned())
            .collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(
            numbers,
            ["2026-0001", "2026-0002"],
            "whoever sends the same one twice at once sees its number or a conflict"
        );
        let third = draft(&world, &client).await;
        assert_eq!(world.ok("invoices_send", json!({ "invoiceId": third["id"] })).await["number"], "2026-0003");
    })
    .await;
}

#[tokio::test]
async fn statistics_add_up() {
    each_world(|world| async move {
        let client = client(&world).await;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(draft(&world, &client).await["id"].clone());
        }
        let swiss = json!({ "clientId": client["id"], "currency": "CHF", "lines": [{ "title": "x", "unitPrice": 1000, "vatRate": 0 }] });
        ids.push(world.ok("invoices_create", swiss).await["id"].clone());
        for id in &ids[1..] {
            world.ok("invoices_send", json!({ "invoiceId": id })).await;
        }
        world.ok("invoices_mark_paid", json!({ "invoiceId": ids[1] })).await;
        let void = world.ok("invoices_void", json!({ "invoiceId": ids[2] })).await;
        assert_eq!((&void["status"], &void["number"]), (&json!("void"), &json!("2026-0002")));
        assert_eq!(rule(world.call("invoices_mark_paid", json!({ "invoiceId": ids[2] })).await), "void");
        let stats = world.ok("invoices_stats", json!({})).await;
        let expected = json!({
            "year": 2026, "drafts": 1, "void": 1,
            "byCurrency": [
                { "currency": "CHF", "invoices": 1, "net": 1000, "vat": 0, "gross": 1000, "paid": 0, "open": 1000, "overdue": 0 },
                { "currency": "EUR", "invoices": 2, "net": 68_494, "vat": 12_296, "gross": 80_790, "paid": 40_395, "open": 40_395, "overdue": 0 },
            ],
        });
        assert_eq!(stats, expected);
        let before = world.ok("invoices_stats", json!({ "year": 2025 })).await;
        assert_eq!((&before["byCurrency"][1]["invoices"], &before["byCurrency"][1]["open"]), (&json!(0), &json!(40_395)));
    })
    .await;
}

#[tokio::test]
async fn an_invoice_is_printed() {
    each_world(|world| async move {
        let client = client(&world).await;
        let title = "Reportage ".repeat(25);
        let lines: Vec<Value> =
            (0..60).map(|_| json!({ "title": title, "unitPrice": 123_456, "vatRate": 1900 })).collect();
        let invoice = world
            .ok("invoices_create", json!({ "clientId": client["id"], "lines": lines, "notes": "Danke – bis bald" }))
            .await;
        let draft = world.ok("invoices_pdf", json!({ "invoiceId": invoice["id"] })).await;
        assert!(draft["fileName"].as_str().is_some_and(|name| name.starts_with("draft-")));
        world.ok("invoices_send", json!({ "invoiceId": invoice["id"] })).await;
        let printed = world.ok("invoices_pdf", json!({ "invoiceId": invoice["id"] })).await;
        assert_eq!((&printed["fileName"], &printed["mimeType"]), (&json!("2026-0001.pdf"), &json!("application/pdf")));
        assert!(printed["pages"].as_i64().is_some_and(|pages| pages > 3));
        let bytes = BASE64_STANDARD.decode(printed["base64"].as_str().expect("text")).expect("base64");
        assert!(bytes.starts_with(b"%PDF-1.") && bytes.trim_ascii_end().ends_with(b"%%EOF"));
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(holds(b"Rechnung") && holds(b"2026-0001") && holds(b"1.234,56") && holds(b"WinAnsiEncoding"));
    })
    .await;
}

#[tokio::test]
async fn an_invoice_has_its_bounds() {
    each_world(|world| async move {
        let nobody = "01900000-0000-7000-8000-000000000000";
        let wrong = json!({
            "clientId": "x", "currency": "euro", "due": "bald", "number": "1", "totals": { "gross": 1 },
            "lines": [{ "title": "", "qty": 0, "unitPrice": 1.5, "vatRate": 10_001 }],
        });
        let fields = world.wrong_fields("invoices_create", wrong).await;
        let expected = ["clientId", "currency", "due", "lines[0].qty", "lines[0].title", "lines[0].unitPrice", "lines[0].vatRate", "number", "totals"];
        assert_eq!(fields, expected);
        let line = json!({ "title": "x", "unitPrice": 1, "vatRate": 0 });
        assert_eq!(world.wrong_fields("invoices_create", json!({ "clientId": nobody, "lines": [] })).await, ["lines"]);
        assert_eq!(world.wrong_fields("invoices_create", json!({ "clientId": nobody, "lines": [line] })).await, ["clientId"]);
        let client = client(&world).await;
        let unknown = json!({ "clientId": client["id"], "currency": "ZZZ", "lines": [line] });
        assert_eq!(world.wrong_fields("invoices_create", unknown).await, ["currency"]);
        let fine = json!({ "clientId": client["id"], "lines": [{ "title": "x", "qty": 1.0005, "unitPrice": 1, "vatRate": 0 }] });
        assert_eq!(world.wrong_fields("invoices_create", fine).await, ["lines[0].qty"]);
        let huge = json!({ "title": "x", "qty": 1_000_000, "unitPrice": 1_000_000_000, "vatRate": 0 });
        let lines: Vec<&Value> = std::iter::repeat_n(&huge, 10).collect();
        assert_eq!(world.wrong_fields("invoices_create", json!({ "clientId": client["id"], "lines": lines })).await, ["lines"]);
        world.ok("invoices_client_archive", json!({ "clientId": client["id"] })).await;
        assert_eq!(world.wrong_fields("invoices_create", json!({ "clientId": client["id"], "lines": [line] })).await, ["clientId"]);
        world.ok("invoices_client_archive", json!({ "clientId": client["id"], "restore": true })).await;
        assert_eq!(world.ok("invoices_client_list", json!({ "query": "GERBERWEG" })).await["items"][0]["id"], client["id"]);
    })
    .await;
}
