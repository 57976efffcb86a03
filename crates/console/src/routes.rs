//! The routes of the pages.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, header};
use mana_personas::Personas;
use mana_registry::Registry;
use mana_types::Lang;

use crate::home;

/// Nothing is loaded that does not come from here, and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What this process is, for its pages.
#[derive(Debug, Clone)]
pub struct Site {
    /// The address under which clients reach it, without a slash at the end.
    pub public_url: String,
    /// What it serves.
    pub roles: Vec<String>,
    /// The release.
    pub version: &'static str,
    /// The engine of its runner; none without one.
    pub engine: Option<String>,
}

#[derive(Debug, Clone)]
struct Pages {
    site: Arc<Site>,
    personas: Option<Personas>,
    registry: Registry,
}

/// The pages. `personas` is none where another process has them.
pub fn router(site: Site, personas: Option<Personas>, registry: Registry) -> Router {
    Router::new().route("/", get(home)).route("/assets/mana.css", get(style)).with_state(Pages {
        site: Arc::new(site),
        personas,
        registry,
    })
}

/// The language that the browser prefers, of the two there are.
fn lang(headers: &HeaderMap) -> Lang {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accepted
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim())
        .find(|tag| ["de", "en"].iter().any(|known| tag.to_ascii_lowercase().starts_with(known)));
    first.map_or(Lang::En, Lang::of_locale)
}

async fn home(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let lang = lang(&headers);
    let summary = match &pages.personas {
        Some(personas) => match personas.summary(None).await {
            Ok(summary) => Some(summary),
            Err(error) => return mana_web::Problem::from(error).into_response(),
        },
        None => None,
    };
    let page = home::page(&pages.site, summary.as_ref(), &pages.registry, lang);
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::VARY, HeaderValue::from_static("Accept-Language")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Html(page.into_string())).into_response()
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, include_str!("mana.css")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_language_wins() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(text));
            lang(&headers)
        };
        assert_eq!(of("de-AT,de;q=0.9,en;q=0.8"), Lang::De);
        assert_eq!(of("fr-FR, en;q=0.7, de;q=0.3"), Lang::En);
        assert_eq!(of("fr"), Lang::En);
        assert_eq!(lang(&HeaderMap::new()), Lang::En);
    }
}
