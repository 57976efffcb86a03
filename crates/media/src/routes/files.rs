//! Bytes go out.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use mana_types::{MediaId, Timestamp};
use mana_web::{FieldError, Json, PathOf, Problem, QueryOf, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::caller::Caller;
use crate::delivery::{self, Delivery, decide};
use crate::image::{ImageError, Transform};
use crate::media::{Blob, Variant, VariantAnswer, Viewer};
use crate::sign::Unsigned;
use crate::wire::file_path;
use crate::{Error, Media};

/// When a variant that is being made is worth another look, in seconds.
const RETRY_AFTER: u16 = 2;

/// How long what never changes may be kept: a year, which is as good as for ever.
const FOR_EVER: i64 = 31_536_000;

/// A request for bytes.
struct Asked {
    app: App,
    method: Method,
    headers: HeaderMap,
    caller: Option<Caller>,
    keep: Keep,
}

/// Who may keep what is delivered, and for how many seconds.
#[derive(Debug, Clone, Copy)]
struct Keep {
    private: bool,
    seconds: i64,
}

impl Asked {
    /// Looks at who asks. Where addresses are signed, this is where unsigned ones end, before anything is looked up.
    async fn admit(app: App, id: MediaId, method: Method, uri: &Uri, headers: HeaderMap) -> Result<Self, Problem> {
        let caller = Caller::guess(&headers, &app).await;
        let keep = match &app.doors.signer {
            None => Keep { private: app.doors.options.private || caller.is_some(), seconds: FOR_EVER },
            Some(signer) => {
                let now = app.media.now().await?;
                match signer.check(uri.path(), uri.query().unwrap_or_default(), now) {
                    Ok(expires) => Keep { private: true, seconds: expires - now.as_secs() },
                    Err(_) if may_see(&app.media, id, caller).await? => Keep { private: true, seconds: FOR_EVER },
                    Err(why) => return Err(refused(why)),
                }
            }
        };
        Ok(Self { app, method, headers, caller, keep })
    }

    async fn deliver(&self, blob: Blob) -> Result<Response, Problem> {
        let Keep { private, seconds } = self.keep;
        let who = if private { "private" } else { "public" };
        let mut headers = vec![
            (header::ETAG, format!("\"{}\"", blob.etag)),
            (header::LAST_MODIFIED, delivery::write_date(blob.modified)),
            (header::CACHE_CONTROL, format!("{who}, max-age={seconds}, immutable")),
            // A name is only for whose it is, so a proxy that keeps the one must not answer the other with it.
            (header::VARY, "Authorization, X-Service-Key".to_owned()),
        ];
        let fetches = self.method == Method::GET;
        let decision = decide(&self.headers, fetches, &blob);
        if decision != Delivery::NotModified {
            headers.extend([
                (header::ACCEPT_RANGES, "bytes".to_owned()),
                (header::CONTENT_TYPE, blob.mime.clone()),
                (header::CONTENT_DISPOSITION, delivery::disposition(&blob.name, blob.inline)),
                (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ]);
        }
        let (status, range) = match decision {
            Delivery::NotModified => (StatusCode::NOT_MODIFIED, None),
            Delivery::Whole => (StatusCode::OK, None),
            Delivery::Part(range) => {
                let place = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), blob.size);
                headers.push((header::CONTENT_RANGE, place));
                (StatusCode::PARTIAL_CONTENT, Some(range))
            }
            Delivery::Unsatisfiable => return Err(unsatisfiable(blob.size)),
        };
        let mut body = Body::empty();
        if status != StatusCode::NOT_MODIFIED {
            let length = range.as_ref().map_or(blob.size, |range| range.end - range.start);
            headers.push((header::CONTENT_LENGTH, length.to_string()));
            if fetches {
                body = Body::from_stream(blob.stream(range).await?);
            }
        }
        let mut answer = (status, body).into_response();
        for (name, text) in headers {
            // Every one is made of visible ASCII; a type that is not was declared by somebody and says nothing.
            if let Ok(value) = HeaderValue::from_str(&text) {
                answer.headers_mut().insert(name, value);
            }
        }
        Ok(answer)
    }
}

/// Programs of this installation, and whoever holds a reference.
async fn may_see(media: &Media, id: MediaId, caller: Option<Caller>) -> Result<bool, Error> {
    match caller {
        None => Ok(false),
        Some(Caller::Service) => Ok(true),
        Some(Caller::User(user)) => Ok(media.get(id, Viewer::User(user)).await?.is_some()),
    }
}

fn refused(why: Unsigned) -> Problem {
    let (code, detail) = match why {
        Unsigned::Missing => ("SIGNATURE_REQUIRED", "this address is not signed, take the one from `urls` of the file"),
        Unsigned::Wrong => {
            ("SIGNATURE_INVALID", "this address was not given out like this, take the one from `urls` of the file")
        }
        Unsigned::Expired => ("SIGNATURE_EXPIRED", "the time of this address is over, fetch the file's record again"),
    };
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

fn unsatisfiable(size: u64) -> Problem {
    let detail = format!("the range lies beyond the {size} bytes of the file");
    let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_NOT_SATISFIABLE", detail);
    match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(value) => problem.header(header::CONTENT_RANGE, value),
        Err(_) => problem,
    }
}

pub(super) async fn file(
    State(app): State<App>,
    PathOf(id): PathOf<MediaId>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = Asked::admit(app, id, method, &uri, headers).await?;
    let blob = asked.app.media.open_file(id, asked.caller.map(Caller::as_viewer)).await?;
    asked.deliver(blob).await
}

pub(super) async fn variant(
    State(app): State<App>,
    PathOf((id, name)): PathOf<(MediaId, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let variant: Variant = name.parse().map_err(|_| Problem::not_found("variant"))?;
    let asked = Asked::admit(app, id, method, &uri, headers).await?;
    match asked.app.media.open_variant(id, variant).await? {
        VariantAnswer::Ready(blob) => asked.deliver(blob).await,
        VariantAnswer::NotReady => {
            let headers = [
                (header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            let body = json!({ "status": "processing", "variant": variant, "retryAfter": RETRY_AFTER });
            Ok((StatusCode::ACCEPTED, headers, Json(body)).into_response())
        }
        VariantAnswer::Absent => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "NO_SUCH_VARIANT",
            format!("this file has no `{variant}`: it is no larger than that, or no image; take the original"),
        )),
        VariantAnswer::Failed(reason) => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "PROCESSING_FAILED", reason))
        }
    }
}

/// Texts, so that all that is wrong is named.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    w: Option<String>,
    h: Option<String>,
    fit: Option<String>,
    format: Option<String>,
    q: Option<String>,
}

impl Parameters {
    fn read(&self) -> Result<Transform, Problem> {
        let [w, h, fit, format, q] = [&self.w, &self.h, &self.fit, &self.format, &self.q].map(|value| value.as_deref());
        // Each alone first, because together only the first fault would be named.
        let faults: Vec<FieldError> = [
            ("w", Transform::parse(w, None, None, None, None)),
            ("h", Transform::parse(None, h, None, None, None)),
            ("fit", Transform::parse(None, None, fit, None, None)),
            ("format", Transform::parse(None, None, None, format, None)),
            ("q", Transform::parse(None, None, None, None, q)),
        ]
        .into_iter()
        .filter_map(|(name, read)| read.err().map(|error: ImageError| FieldError::new(name, error.to_string())))
        .collect();
        if !faults.is_empty() {
            return Err(Problem::validation(faults));
        }
        Transform::parse(w, h, fit, format, q).map_err(|error| Error::Image(error).into())
    }

    /// As a query, in one order.
    fn query(&self) -> String {
        let pairs = [("w", &self.w), ("h", &self.h), ("fit", &self.fit), ("format", &self.format), ("q", &self.q)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
        pairs.collect::<Vec<_>>().join("&")
    }
}

pub(super) async fn transform(
    State(app): State<App>,
    PathOf(id): PathOf<MediaId>,
    QueryOf(parameters): QueryOf<Parameters>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let transform = parameters.read()?;
    let asked = Asked::admit(app, id, method, &uri, headers).await?;
    let blob = asked.app.media.transform(id, &transform).await?;
    asked.deliver(blob).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    user_id: Option<String>,
    variant: Option<String>,
}

/// The address of the file, of a variant or of a transform as a page can use it: signed where that is asked for. Only
/// for who holds a reference.
pub(super) async fn url(
    caller: Caller,
    State(app): State<App>,
    PathOf(id): PathOf<MediaId>,
    QueryOf(wanted): QueryOf<Wanted>,
    QueryOf(parameters): QueryOf<Parameters>,
) -> Result<Json<Value>, Problem> {
    let mut faults = Vec::new();
    let viewer = caller.viewer(wanted.user_id.as_deref(), &mut faults);
    let variant = wanted.variant.as_deref().map(str::parse::<Variant>).transpose();
    let variant = variant.unwrap_or_else(|error| {
        faults.push(FieldError::new("variant", error));
        None
    });
    if !faults.is_empty() {
        return Err(Problem::validation(faults));
    }
    parameters.read()?;
    app.media.get(id, viewer).await?.ok_or(Error::UnknownMedia)?;
    let query = parameters.query();
    let path = match (variant, query.is_empty()) {
        (Some(_), _) | (None, true) => file_path(id, variant),
        (None, false) => format!("/api/v1/media/{id}/transform"),
    };
    let query = if variant.is_some() { "" } else { &*query };
    let Some(signer) = &app.doors.signer else {
        let joint = if query.is_empty() { "" } else { "?" };
        return Ok(Json(json!({ "url": format!("{}{path}{joint}{query}", app.doors.base) })));
    };
    let now = app.media.now().await?;
    let address = signer.sign(&path, query, now);
    let (_, carried) = address.split_once('?').unwrap_or_default();
    let expires = signer.check(&path, carried, now).map(|seconds| Timestamp::from_millis(seconds * 1000)).ok();
    Ok(Json(json!({ "url": format!("{}{address}", app.doors.base), "expiresAt": expires })))
}
