//! `GET /`: what runs here, how the population is, and where everything is.

use mana_registry::Registry;
use mana_types::Lang;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use crate::routes::Site;

/// A text in the reader's language.
fn say(lang: Lang, english: &'static str, german: &'static str) -> &'static str {
    match lang {
        Lang::En => english,
        Lang::De => german,
    }
}

pub(crate) fn page(site: &Site, summary: Option<&Value>, registry: &Registry, lang: Lang) -> Markup {
    let url = &site.public_url;
    html! {
        (DOCTYPE)
        html lang=(say(lang, "en", "de")) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Mana" }
                link rel="stylesheet" href="/assets/mana.css";
            }
            body { main {
                h1 { "Mana" }
                p.lead { (say(lang,
                    "A personal platform for people and AI agents, and the personas who live in it.",
                    "Eine persönliche Plattform für Menschen und KI-Agenten, und die Personas, die darin leben.")) }
                p { (say(lang, "Release", "Version")) " " (site.version) " · " (site.roles.join(", "))
                    @if let Some(engine) = &site.engine { " · engine " code { (engine) } } }
                @if let Some(summary) = summary { (population(summary, lang)) }
                h2 { (say(lang, "Connect an agent", "Einen Agenten verbinden")) }
                p { (say(lang, "Over MCP, with an access token from ", "Über MCP, mit einem Zugangstoken von ")) code { "mana token" } ":" }
                pre { code { "claude mcp add --transport http mana " (url) "/mcp --header \"Authorization: Bearer $(mana token)\"" } }
                h2 { (say(lang, "Addresses", "Adressen")) }
                div.scroll { table { tbody {
                    tr { th { "MCP" } td { code { (url) "/mcp" } } }
                    tr { th { "REST" } td { a href="/openapi.json" { (url) "/openapi.json" } } }
                    tr { th { (say(lang, "Health", "Zustand")) } td { a href="/health" { (url) "/health" } } }
                    tr { th { (say(lang, "Metrics", "Messwerte")) } td { a href="/metrics" { (url) "/metrics" } } }
                } } }
                h2 { (say(lang, "Modules", "Module")) }
                ul.modules { @for module in registry.modules() { li title=(module.about()) { (module.label(lang)) } } }
            } }
        }
    }
}

fn number(value: &Value, path: &str) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

fn population(summary: &Value, lang: Lang) -> Markup {
    let personas = number(summary, "/personas");
    let rows = [
        (say(lang, "Personas", "Personas"), "/personas"),
        (say(lang, "Due now", "Jetzt fällig"), "/due"),
        (say(lang, "Visiting now", "Gerade zu Besuch"), "/states/running"),
        (say(lang, "Paused", "Angehalten"), "/states/paused"),
        (say(lang, "Quarantined", "In Quarantäne"), "/states/quarantined"),
        (say(lang, "Visits in the last day", "Besuche am letzten Tag"), "/recent/ticks"),
        (say(lang, "Tool calls in the last day", "Werkzeugaufrufe am letzten Tag"), "/recent/actions"),
        (say(lang, "of which failed", "davon fehlgeschlagen"), "/recent/errors"),
    ];
    let rated = [
        (say(lang, "Mean rating by a model", "Mittlere Bewertung durch ein Modell"), "/recent/rated"),
        (
            say(lang, "Mean rating, simulated by rehearsal", "Mittlere Bewertung, vom Probelauf simuliert"),
            "/recent/simulated",
        ),
    ];
    html! {
        h2 { (say(lang, "Population", "Bevölkerung")) }
        @if personas == 0 {
            p { (say(lang, "There are no personas yet: ", "Es gibt noch keine Personas: ")) code { "mana personas seed" }
                (say(lang, " makes those of the catalog.", " legt die des Katalogs an.")) }
        } @else {
            div.scroll { table { tbody {
                @for (label, path) in rows { tr { th { (label) } td { (number(summary, path)) } } }
                @for (label, path) in rated {
                    @let count = number(summary, &format!("{path}/ratings"));
                    @if count > 0 { tr { th { (label) } td {
                        (format!("{:.1}", summary.pointer(&format!("{path}/meanRating")).and_then(Value::as_f64).unwrap_or_default()))
                        " (n = " (count) ")"
                    } } }
                }
            } } }
        }
    }
}
