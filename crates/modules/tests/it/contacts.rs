//! Contacts.

use mana_registry::ToolError;
use serde_json::{Value, json};

use crate::support::each_world;

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("a page").iter().map(|item| item["firstName"].as_str().unwrap_or("-")).collect()
}

#[tokio::test]
async fn a_contact_is_made_found_changed_and_put_away() {
    each_world(|world| async move {
        let anna = world
            .ok(
                "contacts_create",
                json!({ "firstName": "Anna", "lastName": "Berg", "email": "anna@berg.test", "phone": "+49 30 1234567",
                        "birthday": "1990-12-01", "tags": ["Familie"], "links": ["https://berg.test"], "isFavorite": true }),
            )
            .await;
        world.ok("contacts_create", json!({ "firstName": "Bert", "company": "Berg & Tal", "birthday": "1604-11-18" })).await;
        world.ok("contacts_create", json!({ "firstName": "Cem", "birthday": "2000-11-17" })).await;
        assert_eq!(names(&world.ok("contacts_list", json!({})).await), ["Cem", "Bert", "Anna"]);
        assert_eq!(names(&world.ok("contacts_list", json!({ "tag": "Familie" })).await), ["Anna"]);
        assert_eq!(names(&world.ok("contacts_list", json!({ "favoritesOnly": true })).await), ["Anna"]);
        assert_eq!(names(&world.ok("contacts_list", json!({ "company": "Berg & Tal" })).await), ["Bert"]);
        assert_eq!(names(&world.ok("contacts_search", json!({ "query": "BERG" })).await), ["Bert", "Anna"]);
        let coming = world.ok("contacts_birthdays", json!({})).await;
        let expected = json!([
            { "contactId": coming["birthdays"][0]["contactId"], "name": "Bert", "date": "2026-11-18", "inDays": 0 },
            { "contactId": anna["id"], "name": "Anna Berg", "date": "2026-12-01", "inDays": 13, "age": 36 },
        ]);
        assert_eq!(coming["birthdays"], expected);
        let year = world.ok("contacts_birthdays", json!({ "days": 366 })).await;
        assert_eq!((&year["birthdays"][2]["inDays"], &year["birthdays"][2]["age"]), (&json!(364), &json!(27)));
        let id = &anna["id"];
        let changed = world.ok("contacts_update", json!({ "contactId": id, "expectedRev": 1, "phone": "1", "clear": ["birthday"] })).await;
        assert!(changed.get("birthday").is_none() && changed["phone"] == "1" && changed["lastName"] == "Berg");
        let stale = world.call("contacts_update", json!({ "contactId": id, "expectedRev": 1, "phone": "2" })).await;
        assert!(matches!(stale, Err(ToolError::Conflict { rev: 2, .. })), "{stale:?}");
        world.ok("contacts_archive", json!({ "contactId": id })).await;
        assert_eq!(names(&world.ok("contacts_list", json!({ "archived": true })).await), ["Anna"]);
        world.ok("contacts_restore", json!({ "contactId": id })).await;
        assert_eq!(world.ok("contacts_get", json!({ "contactId": id })).await["rev"], 4);
    })
    .await;
}

#[tokio::test]
async fn duplicates_are_found_and_become_one() {
    each_world(|world| async move {
        let keep = world.ok("contacts_create", json!({ "firstName": "Deniz", "lastName": "Demir", "email": "d@demir.test" })).await;
        let second = world.ok("contacts_create", json!({ "firstName": "Deniz", "email": "D@Demir.test", "phone": "0170 1234567" })).await;
        let third = world.ok("contacts_create", json!({ "company": "Kanzlei", "phone": "+49 (0)170 1234567", "notes": "Mag Tee" })).await;
        world.ok("contacts_create", json!({ "firstName": "Deniz" })).await;
        let found = world.ok("contacts_duplicates", json!({})).await;
        assert_eq!((&found["total"], &found["groups"][0]["same"]), (&json!(1), &json!(["email", "phone"])));
        assert_eq!(found["groups"][0]["contacts"].as_array().map(Vec::len), Some(3));
        let same_twice = json!({ "contactId": keep["id"], "duplicateIds": [keep["id"], second["id"], second["id"], "01900000-0000-7000-8000-000000000000"] });
        let wrong = world.wrong_fields("contacts_merge", same_twice).await;
        assert_eq!(wrong, ["duplicateIds[0]", "duplicateIds[2]", "duplicateIds[3]"]);
        let merged = world.ok("contacts_merge", json!({ "contactId": keep["id"], "duplicateIds": [second["id"], third["id"]] })).await;
        assert_eq!((&merged["email"], &merged["company"]), (&json!("d@demir.test"), &json!("Kanzlei")));
        assert_eq!(merged["notes"], "Auch bekannt als: Deniz\nE-Mail: D@Demir.test\nTelefon: +49 (0)170 1234567\nMag Tee");
        assert_eq!(world.ok("contacts_duplicates", json!({})).await["total"], 0);
        assert_eq!(world.ok("contacts_list", json!({ "archived": true })).await["items"].as_array().map(Vec::len), Some(2));
    })
    .await;
}

#[tokio::test]
async fn cards_go_out_and_come_in_once() {
    each_world(|world| async move {
        world
            .ok(
                "contacts_create",
                json!({ "firstName": "Ömer", "lastName": "Ünal; jr", "address": "Weg 1\n50667 Köln", "birthday": "1604-02-29",
                        "notes": "Zeile 1\nZeile 2, mit Komma", "tags": ["Verein, alt", "b"], "links": ["https://u.test/a?b=1"] }),
            )
            .await;
        let out = world.ok("contacts_export", json!({})).await;
        let vcard = out["vcard"].as_str().expect("text");
        assert!(vcard.starts_with("BEGIN:VCARD\r\nVERSION:4.0\r\n") && vcard.contains("\r\nBDAY:--0229\r\n"), "{vcard}");
        let again = world.ok("contacts_import", json!({ "vcard": vcard })).await;
        assert_eq!((&again["added"], &again["alreadyHere"]), (&json!(0), &json!(1)));
        let other = world.somebody_else().await;
        let taken = other.ok("contacts_import", json!({ "vcard": vcard })).await;
        assert_eq!((&taken["added"], &taken["notices"]), (&json!(1), &json!([])));
        let mine = world.ok("contacts_list", json!({})).await["items"][0].clone();
        let theirs = other.ok("contacts_get", json!({ "contactId": taken["contactIds"][0] })).await;
        for field in ["firstName", "lastName", "address", "birthday", "notes", "tags", "links"] {
            assert_eq!(mine[field], theirs[field], "{field}");
        }
        assert_eq!(other.ok("contacts_import", json!({ "vcard": vcard })).await["alreadyHere"], 1);
        let odd = "BEGIN:VCARD\nFN:Nora\nEMAIL:keine\nBDAY:gestern\nEND:VCARD\nBEGIN:VCARD\nNOTE:niemand\nEND:VCARD";
        let partly = other.ok("contacts_import", json!({ "vcard": odd })).await;
        assert_eq!((&partly["added"], partly["notices"].as_array().map(Vec::len)), (&json!(1), Some(3)));
        assert_eq!(other.wrong_fields("contacts_import", json!({ "vcard": "hallo" })).await, ["vcard"]);
    })
    .await;
}

#[tokio::test]
async fn a_contact_has_its_bounds() {
    each_world(|world| async move {
        let wrong = json!({
            "firstName": "", "email": "x", "birthday": "morgen", "links": ["javascript:alert(1)"], "tags": [""], "phone": "1".repeat(61),
        });
        let fields = world.wrong_fields("contacts_create", wrong).await;
        assert_eq!(fields, ["birthday", "email", "firstName", "phone", "tags[0]"]);
        assert_eq!(world.wrong_fields("contacts_create", json!({ "firstName": "A", "links": ["javascript:alert(1)"] })).await, ["links[0]"]);
        assert_eq!(world.wrong_fields("contacts_create", json!({ "notes": "niemand" })).await, ["firstName"]);
        let anna = world.ok("contacts_create", json!({ "firstName": "Anna" })).await;
        let nobody = json!({ "contactId": anna["id"], "clear": ["firstName"] });
        assert_eq!(world.wrong_fields("contacts_update", nobody).await, ["firstName"]);
        assert_eq!(world.wrong_fields("contacts_birthdays", json!({ "days": 0 })).await, ["days"]);
        let stranger = world.somebody_else().await;
        let hidden = stranger.call("contacts_get", json!({ "contactId": anna["id"] })).await;
        assert!(matches!(hidden, Err(ToolError::NotFound { what: "contact", .. })), "{hidden:?}");
    })
    .await;
}
