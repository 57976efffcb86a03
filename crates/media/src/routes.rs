//! The HTTP interface.
//!
//! Who calls is a bearer or a program with a service key; `userId` counts only for the latter. What the caller may not
//! know is answered like what does not exist.

mod body;
mod caller;
mod files;
mod internal;
mod records;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post, put};
use http::{HeaderName, HeaderValue, Method, header};
use mana_token::Verifier;
use mana_web::{FieldError, Problem, ServiceKeys, StatusCode};
use serde_json::json;
use tower_http::cors::{AllowOrigin, CorsLayer};

use self::body::BodyFault;
use crate::image::ImageError;
use crate::media::{Record, Viewer};
use crate::sign::{SignedUrls, Signer};
use crate::wire::RecordBody;
use crate::{Error, Media, Result};

/// The largest body of a route that takes JSON: the ids of a great many files.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// How the doors of media are set up.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    /// What addresses in answers begin with, such as `https://mana.example`; none for paths.
    pub public_url: Option<String>,
    /// Whether only the caller's own browser may keep what is delivered, and no proxy on the way.
    pub private: bool,
    /// Whether bytes are fetched by signed addresses alone; none: knowing the id is enough.
    pub signed_urls: Option<SignedUrls>,
    /// Pages of which origins may call, beside those of `public_url`; `*` for all.
    pub origins: Vec<String>,
    /// How long a body may stand still.
    pub idle: Duration,
    /// How long a body may take in all.
    pub longest: Duration,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            public_url: None,
            private: false,
            signed_urls: None,
            origins: Vec::new(),
            idle: Duration::from_secs(30),
            longest: Duration::from_hours(1),
        }
    }
}

#[derive(Debug, Clone)]
struct App {
    media: Media,
    verifier: Arc<Verifier>,
    keys: ServiceKeys,
    doors: Arc<Doors>,
}

#[derive(Debug)]
struct Doors {
    options: DoorOptions,
    signer: Option<Signer>,
    base: String,
}

impl FromRef<App> for Media {
    fn from_ref(app: &App) -> Self {
        app.media.clone()
    }
}

impl FromRef<App> for ServiceKeys {
    fn from_ref(app: &App) -> Self {
        app.keys.clone()
    }
}

impl FromRef<App> for Arc<Verifier> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.verifier)
    }
}

/// The routes of media. Bodies of uploads are bounded by the service's own limit, whatever is set elsewhere.
pub fn router(media: Media, verifier: Arc<Verifier>, keys: ServiceKeys, options: DoorOptions) -> Router {
    let cors = cors(&options);
    let doors = Doors {
        signer: options.signed_urls.as_ref().map(Signer::new),
        base: options.public_url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned(),
        options,
    };
    let app = App { media, verifier, keys, doors: Arc::new(doors) };
    let uploads = Router::new()
        .route("/api/v1/media/upload", post(uploads::upload))
        .route("/api/v1/media/upload-urls/{token}", put(uploads::leave).post(uploads::leave))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/api/v1/media", get(records::list))
        .route("/api/v1/media/", get(records::list))
        .route("/api/v1/media/list/all", get(records::list_all))
        .route("/api/v1/media/stats", get(records::stats))
        .route("/api/v1/media/hash/{hash}", get(records::by_hash))
        .route("/api/v1/media/upload-urls", post(uploads::upload_url))
        .route("/api/v1/media/{id}", get(records::one).delete(records::remove))
        .route("/api/v1/media/{id}/url", get(files::url))
        .route("/api/v1/media/{id}/file", get(files::file))
        .route("/api/v1/media/{id}/file/{variant}", get(files::variant))
        .route("/api/v1/media/{id}/transform", get(files::transform))
        .route("/api/v1/internal/media/ownership", post(internal::ownership))
        .route("/api/v1/internal/media/{id}/reference", get(internal::reference))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .merge(uploads)
        .layer(cors)
        .with_state(app)
}

/// Answers preflight requests, without auth, and tells browsers what they may read.
fn cors(options: &DoorOptions) -> CorsLayer {
    let mut origins = options.origins.clone();
    origins.extend(options.public_url.clone());
    let origins: Vec<String> = origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
    let allowed = move |origin: &HeaderValue, _: &_| {
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        origins.iter().any(|allowed| *allowed == "*" || *allowed == origin)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_RANGE,
        ])
        .expose_headers([
            header::ACCEPT_RANGES,
            header::CONTENT_DISPOSITION,
            header::CONTENT_RANGE,
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("x-next-cursor"),
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(Duration::from_mins(10))
}

impl App {
    /// How records look to this viewer.
    async fn shown(&self, viewer: Viewer) -> Result<impl Fn(Record) -> RecordBody + use<'_>> {
        let now = match self.doors.signer {
            Some(_) => Some(self.media.now().await?),
            None => None,
        };
        let for_holder = match viewer {
            Viewer::User(_) => true,
            Viewer::Service => false,
        };
        Ok(move |record| {
            RecordBody::new(record, for_holder, |path| match (&self.doors.signer, now) {
                (Some(signer), Some(now)) => format!("{}{}", self.doors.base, signer.sign(path, "", now)),
                _ => format!("{}{path}", self.doors.base),
            })
        })
    }
}

/// The one place where an error of media becomes a status.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let wrong = |code, status| Self::new(status, code, detail.clone());
        match error {
            Error::UnknownMedia => Self::not_found("file"),
            Error::UnknownUser => Self::not_found("user"),
            Error::UnknownUploadUrl => Self::not_found("upload address"),
            Error::SpentUploadUrl => wrong("UPLOAD_URL_SPENT", StatusCode::GONE),
            Error::Empty => wrong("FILE_EMPTY", StatusCode::BAD_REQUEST)
                .with("details", json!([FieldError::new("file", detail.clone())])),
            Error::TooLarge { limit } => {
                wrong("PAYLOAD_TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE).with("limit", json!(limit))
            }
            Error::NotAllowed(_) => wrong("TYPE_NOT_ALLOWED", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Error::InvalidApp => Self::validation(vec![FieldError::new("app", detail)]),
            Error::NotAnImage => wrong("NOT_AN_IMAGE", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Error::Image(ImageError::Parameter(text)) => Self::validation(vec![FieldError::new("", text)]),
            Error::Image(
                ImageError::Unsupported(_)
                | ImageError::TooLarge { .. }
                | ImageError::Damaged(_)
                | ImageError::TooSlow
                | ImageError::Encode(_),
            ) => wrong("IMAGE_REFUSED", StatusCode::UNPROCESSABLE_ENTITY),
            Error::Busy | Error::Contended => Self::unavailable(detail),
            Error::Interrupted(ref cause) => match cause.downcast_ref::<BodyFault>() {
                Some(fault) => fault.into(),
                None => wrong("UPLOAD_INTERRUPTED", StatusCode::BAD_REQUEST),
            },
            Error::Unavailable(_) => {
                tracing::warn!(error = %mana_web::causes(&error), "media.store_unavailable");
                Self::unavailable(detail)
            }
            Error::Disk(ref cause)
                if matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) =>
            {
                tracing::error!(error = %mana_web::causes(&error), "media.disk_full");
                Self::unavailable("there is no room for files at the moment, try again later")
            }
            Error::Store(ref cause) if cause.is_transient() => {
                tracing::warn!(error = %cause, "media.database_unavailable");
                Self::unavailable("files cannot be reached at the moment, try again")
            }
            Error::Disk(_) | Error::Lost(_) | Error::Location { .. } | Error::Task(_) | Error::Store(_) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<&BodyFault> for Problem {
    fn from(fault: &BodyFault) -> Self {
        let detail = fault.to_string();
        match fault {
            BodyFault::Slow => Self::new(StatusCode::REQUEST_TIMEOUT, "UPLOAD_TOO_SLOW", detail),
            BodyFault::TooLarge { limit } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", detail).with("limit", json!(limit))
            }
            BodyFault::Field(field) => Self::validation(vec![field.clone()]),
            BodyFault::Malformed(_) => Self::validation(vec![FieldError::new("", detail)]),
            BodyFault::Broken(_) => Self::new(StatusCode::BAD_REQUEST, "UPLOAD_INTERRUPTED", detail),
        }
    }
}
