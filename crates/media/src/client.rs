//! The media service from elsewhere: the same files over HTTP.
//!
//! A program of this installation shows its service key and says for whom it acts ([`Client::for_user`]); anybody else
//! shows a bearer. A request is sent again only where that changes nothing: reading, deleting, and uploading, because the
//! same bytes again are the same file. Redirects are not followed, and no answer is read beyond its limit.

use std::time::Duration;

use bytes::Bytes;
use mana_types::{MediaId, Secret, Timestamp, UserId};
use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Hash;
use crate::delivery::encoded;
use crate::image::{Fit, Format};
use crate::list::Stats;
use crate::media::{Status, Variant};
use crate::wire::{AllBody, RecordBody, file_path};

/// The largest answer that is no file.
const LARGEST_JSON: u64 = 16 << 20;
/// How often a request is sent where it may be sent again.
const TRIES: u32 = 3;
/// The longest wait between two tries, whatever the server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long an image is waited for.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Who calls.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nobody: addresses can be built and files fetched.
    None,
    /// A user, by an access token.
    Bearer(Secret),
    /// A program of this installation.
    ServiceKey(Secret),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the service is none.
    #[error("`{0}` is no address of a media service, expected `https://HOST`")]
    Address(String),
    /// This client could not be made.
    #[error("no HTTP client could be made")]
    Setup(#[source] reqwest::Error),
    /// The service could not be reached, or the line broke.
    #[error("the media service cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The service said no.
    #[error("the media service refused with {status} `{code}`: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its stable code, such as `NOT_FOUND`; empty if it sent none.
        code: String,
        /// What it said.
        detail: String,
    },
    /// The answer is larger than what is taken.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes that are read.
        limit: u64,
    },
    /// The answer makes no sense.
    #[error("the media service answered something unreadable: {0}")]
    Unreadable(String),
    /// Nothing could be made of the file.
    #[error("the file could not be processed: {0}")]
    Failed(String),
    /// It takes longer than anybody waits.
    #[error("the file is still being processed")]
    NotReady,
}

impl ClientError {
    /// Whether there is no such file, or none that the caller may know of.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotReady => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 502..=504),
            Self::Address(_) | Self::Setup(_) | Self::TooLarge { .. } | Self::Unreadable(_) | Self::Failed(_) => false,
        }
    }
}

/// What a function of the client answers.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// A file to be uploaded.
#[derive(Debug, Clone, Default)]
pub struct NewFile {
    /// What it is called.
    pub name: String,
    /// Which type it is; the service believes it only where the bytes do not show it.
    pub mime_type: Option<String>,
    /// For which app.
    pub app: Option<String>,
    /// Make nothing of it until somebody asks.
    pub skip_processing: bool,
}

/// Which files, the newest first.
#[derive(Debug, Clone, Default)]
pub struct ListParams {
    /// Only those held for this app.
    pub app: Option<String>,
    /// At most this many, 1 to 500.
    pub limit: Option<u32>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The files.
    pub items: Vec<RecordBody>,
    /// Where the next page begins; none on the last.
    pub next_cursor: Option<String>,
}

/// Which files, filtered and sorted; texts as the route takes them.
#[derive(Debug, Clone, Default)]
pub struct AllParams {
    /// Only those held for one of these apps; empty for all.
    pub apps: Vec<String>,
    /// Only this type, such as `image/png` or `image/*`.
    pub mime_type: Option<String>,
    /// Taken at this time or later.
    pub date_from: Option<Timestamp>,
    /// Taken at this time or earlier.
    pub date_to: Option<Timestamp>,
    /// Only those with a place, or without.
    pub has_location: Option<bool>,
    /// At most this many, 1 to 500.
    pub limit: Option<u32>,
    /// Leave out this many.
    pub offset: Option<u64>,
    /// `createdAt`, `dateTaken` or `size`.
    pub sort_by: Option<String>,
    /// The smallest first.
    pub ascending: bool,
}

/// What an address of a transform asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransformParams {
    /// Pixels across.
    pub w: Option<u32>,
    /// Pixels down.
    pub h: Option<u32>,
    /// How it goes into that frame.
    pub fit: Option<Fit>,
    /// What comes out.
    pub format: Option<Format>,
    /// The quality, 1 to 100.
    pub q: Option<u8>,
}

/// An address at which one file may be left.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadUrlBody {
    /// The address; a path where the service does not know its own.
    pub url: String,
    /// Until when.
    pub expires_at: Timestamp,
    /// How large the file may be.
    pub max_bytes: u64,
}

/// A media service elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    auth: Auth,
    user: Option<UserId>,
    max_bytes: u64,
}

/// Whether it does harm to send a request twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    Safe,
    Never,
}

pub(crate) type Query = Vec<(&'static str, String)>;

/// Whether a type is an image that every browser shows: `image/…`, but not SVG, which is a program.
pub fn is_image_mime_type(mime: &str) -> bool {
    let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    mime.len() > "image/".len() && mime.starts_with("image/") && !mime.starts_with("image/svg")
}

impl Client {
    /// A client of the service at this address.
    pub fn new(base_url: &str, auth: Auth) -> Result<Self> {
        // Fails when a provider is installed already, which is just as well: it is the process's choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = || ClientError::Address(base_url.to_owned());
        let url = Url::parse(base_url).map_err(|_| address())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            return Err(address());
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mana-media/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_mins(2));
        if url.scheme() == "http" {
            // Nothing to verify: reading the system's certificates takes time, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { http, base: base_url.trim_end_matches('/').to_owned(), auth, user: None, max_bytes: 100_000_000 })
    }

    /// The same client acting for this user. Counts only with a service key.
    pub fn for_user(&self, user: UserId) -> Self {
        Self { user: Some(user), ..self.clone() }
    }

    /// The same client reading files of at most this many bytes; 100 MB where nothing is said.
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Uploads a file.
    pub async fn upload(&self, file: &NewFile, bytes: Bytes) -> Result<RecordBody> {
        // A text that does not occur in the bytes, because it depends on all of them.
        let boundary = format!("mana-{}", Hash::of(&bytes));
        let body = self.form(file, &bytes, &boundary);
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let answer = self
            .send(Again::Safe, || {
                self.request(Method::POST, "/api/v1/media/upload", &Vec::new())
                    .header(header::CONTENT_TYPE, &content_type)
                    .body(body.clone())
            })
            .await?;
        read_json(answer).await
    }

    fn form(&self, file: &NewFile, bytes: &[u8], boundary: &str) -> Bytes {
        let mut body = Vec::with_capacity(bytes.len() + 1024);
        let user = self.user.map(|user| user.to_string());
        let skip = file.skip_processing.then(|| "true".to_owned());
        for (name, value) in [("app", file.app.clone()), ("userId", user), ("skipProcessing", skip)] {
            if let Some(value) = value {
                let part =
                    format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
                body.extend_from_slice(part.as_bytes());
            }
        }
        // As browsers escape it (HTML, section 4.10.22.8).
        let name = file.name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        let mime: String = file.mime_type.iter().flat_map(|mime| mime.chars()).filter(|c| !c.is_control()).collect();
        let mime = if mime.is_empty() { "application/octet-stream" } else { &*mime };
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {mime}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        body.into()
    }

    /// A file; none if there is no such file, or none that the caller may know of.
    pub async fn get(&self, id: MediaId) -> Result<Option<RecordBody>> {
        self.find(&format!("/api/v1/media/{id}")).await
    }

    /// The file with these bytes; none if there is no such file, or none that the caller may know of.
    pub async fn get_by_hash(&self, hash: &Hash) -> Result<Option<RecordBody>> {
        self.find(&format!("/api/v1/media/hash/{hash}")).await
    }

    async fn find(&self, path: &str) -> Result<Option<RecordBody>> {
        match self.fetch(path, self.acting()).await {
            Ok(answer) => read_json(answer).await.map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of files, the newest first.
    pub async fn list(&self, params: &ListParams) -> Result<ListPage> {
        let mut query = self.acting();
        push(&mut query, "app", params.app.as_ref());
        push(&mut query, "limit", params.limit);
        push(&mut query, "cursor", params.cursor.as_ref());
        let answer = self.fetch("/api/v1/media", query).await?;
        let next = answer.headers().get("x-next-cursor").and_then(|cursor| cursor.to_str().ok()).map(str::to_owned);
        Ok(ListPage { items: read_json(answer).await?, next_cursor: next })
    }

    /// A part of all files, filtered and sorted, and how many there are.
    pub async fn list_all(&self, params: &AllParams) -> Result<AllBody> {
        let mut query = self.acting();
        push(&mut query, "apps", Some(params.apps.join(",")).filter(|apps| !apps.is_empty()));
        push(&mut query, "mimeType", params.mime_type.as_ref());
        push(&mut query, "dateFrom", params.date_from);
        push(&mut query, "dateTo", params.date_to);
        push(&mut query, "hasLocation", params.has_location);
        push(&mut query, "limit", params.limit);
        push(&mut query, "offset", params.offset);
        push(&mut query, "sortBy", params.sort_by.as_ref());
        push(&mut query, "sortOrder", params.ascending.then_some("asc"));
        read_json(self.fetch("/api/v1/media/list/all", query).await?).await
    }

    /// How much there is.
    pub async fn stats(&self) -> Result<Stats> {
        read_json(self.fetch("/api/v1/media/stats", self.acting()).await?).await
    }

    /// Drops the caller's reference to a file: for one app, or for all.
    pub async fn delete(&self, id: MediaId, app: Option<&str>) -> Result<()> {
        let mut query = self.acting();
        push(&mut query, "app", app);
        let path = format!("/api/v1/media/{id}");
        self.send(Again::Safe, || self.request(Method::DELETE, &path, &query)).await.map(drop)
    }

    /// The address of a file as it was uploaded.
    pub fn file_url(&self, id: MediaId) -> String {
        format!("{}{}", self.base, file_path(id, None))
    }

    /// The address of one of its smaller images.
    pub fn variant_url(&self, id: MediaId, variant: Variant) -> String {
        format!("{}{}", self.base, file_path(id, Some(variant)))
    }

    /// The address of an image made of it.
    pub fn transform_url(&self, id: MediaId, params: &TransformParams) -> String {
        let mut query = Query::new();
        push(&mut query, "w", params.w);
        push(&mut query, "h", params.h);
        push(&mut query, "fit", params.fit);
        push(&mut query, "format", params.format);
        push(&mut query, "q", params.q);
        format!("{}/api/v1/media/{id}/transform{}", self.base, spelled(&query))
    }

    /// Waits until all that can be made of a file is there, at most thirty seconds.
    pub async fn wait_for_ready(&self, id: MediaId) -> Result<RecordBody> {
        let waited = async {
            let mut pause = Duration::from_millis(100);
            loop {
                let answer = self.fetch(&format!("/api/v1/media/{id}"), self.acting()).await?;
                let record: RecordBody = read_json(answer).await?;
                match record.status {
                    Status::Ready => return Ok(record),
                    Status::Failed => return Err(ClientError::Failed(record.reason.unwrap_or_default())),
                    Status::Processing => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        };
        tokio::time::timeout(READY_WITHIN, waited).await.unwrap_or(Err(ClientError::NotReady))
    }

    /// All bytes of a file.
    pub async fn get_buffer(&self, id: MediaId) -> Result<Bytes> {
        read(self.fetch(&file_path(id, None), Query::new()).await?, self.max_bytes).await
    }

    /// Which of these files the user does *not* hold for one of these apps (for any app, where none is named), in the
    /// order given. Nothing is asked where no file is named. Needs a service key.
    pub async fn verify_ownership(&self, user: UserId, ids: &[MediaId], apps: &[&str]) -> Result<Vec<MediaId>> {
        #[derive(Deserialize)]
        struct Missing {
            missing: Vec<MediaId>,
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let body = json!({ "userId": user, "ids": ids, "apps": apps });
        let answer = self
            .sent(Again::Safe, || {
                self.request(Method::POST, "/api/v1/internal/media/ownership", &Query::new()).json(&body)
            })
            .await?;
        let status = answer.status().as_u16();
        let bytes = read(answer, LARGEST_JSON).await?;
        match status {
            200 => Ok(Vec::new()),
            404 if code(&bytes) == "MEDIA_MISSING" => {
                let body: Missing = parse(&bytes)?;
                Ok(body.missing)
            }
            status => Err(refused(status, &bytes)),
        }
    }

    /// The user's image as image generators take it: PNG, RGB, at most 1024 a side. Needs a service key.
    pub async fn reference(&self, id: MediaId, user: UserId) -> Result<Bytes> {
        let query = vec![("userId", user.to_string())];
        read(self.fetch(&format!("/api/v1/internal/media/{id}/reference"), query).await?, self.max_bytes).await
    }

    /// An address at which one file may be left, for an agent that has no bearer.
    pub async fn upload_url(&self, app: Option<&str>, name: Option<&str>) -> Result<UploadUrlBody> {
        let body = json!({ "app": app, "name": name, "userId": self.user });
        let request = || self.request(Method::POST, "/api/v1/media/upload-urls", &Query::new()).json(&body);
        read_json(self.send(Again::Never, request).await?).await
    }

    pub(crate) fn acting(&self) -> Query {
        self.user.iter().map(|user| ("userId", user.to_string())).collect()
    }

    pub(crate) fn request(&self, method: Method, path: &str, query: &Query) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}{}", self.base, spelled(query)));
        let (name, value) = match &self.auth {
            Auth::None => return request,
            Auth::Bearer(token) => ("authorization", format!("Bearer {}", token.expose())),
            Auth::ServiceKey(key) => ("x-service-key", key.expose().to_owned()),
        };
        match header::HeaderValue::from_str(&value) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(name, value)
            }
            // What is no header proves nothing; the service will say so.
            Err(_) => request,
        }
    }

    async fn fetch(&self, path: &str, query: Query) -> Result<Response> {
        self.send(Again::Safe, || self.request(Method::GET, path, &query)).await
    }

    /// An answer that says yes.
    pub(crate) async fn send(&self, again: Again, request: impl Fn() -> RequestBuilder) -> Result<Response> {
        let answer = self.sent(again, request).await?;
        if answer.status().is_success() && answer.status().as_u16() != 202 {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        Err(refused(status, &read(answer, LARGEST_JSON).await?))
    }

    /// An answer, whatever it says.
    async fn sent(&self, again: Again, request: impl Fn() -> RequestBuilder) -> Result<Response> {
        let mut tried = 1;
        loop {
            let wait = match request().send().await {
                Ok(answer) if !matches!(answer.status().as_u16(), 502..=504) => return Ok(answer),
                Ok(answer) if tried == TRIES || again == Again::Never => return Ok(answer),
                Ok(answer) => {
                    let asked =
                        answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                    asked.map_or_else(|| pause(tried), Duration::from_secs)
                }
                // Nothing was sent before a connection stands.
                Err(error) if tried < TRIES && (again == Again::Safe || error.is_connect()) => pause(tried),
                Err(error) => return Err(ClientError::Unreachable(error.without_url())),
            };
            tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            tried += 1;
        }
    }
}

fn pause(tried: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.pow(tried)
}

fn push(query: &mut Query, name: &'static str, value: Option<impl ToString>) {
    query.extend(value.map(|value| (name, value.to_string())));
}

fn spelled(query: &Query) -> String {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

async fn read(mut answer: Response, limit: u64) -> Result<Bytes> {
    if answer.content_length().is_some_and(|length| length > limit) {
        return Err(ClientError::TooLarge { limit });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| ClientError::Unreachable(error.without_url()))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(ClientError::TooLarge { limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

pub(crate) async fn read_json<T: DeserializeOwned>(answer: Response) -> Result<T> {
    parse(&read(answer, LARGEST_JSON).await?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| ClientError::Unreadable(error.to_string()))
}

fn code(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}

fn refused(status: u16, body: &[u8]) -> ClientError {
    // A proxy on the way may answer anything.
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
    ClientError::Refused { status, code: code(body), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_what_a_browser_shows_and_svg_is_a_program() {
        for mime in ["image/png", "image/jpeg", "IMAGE/WebP", "image/avif; q=1"] {
            assert!(is_image_mime_type(mime), "{mime}");
        }
        for mime in ["image/svg+xml", "image/SVG", "image/", "text/html", "", "video/mp4", "images/png"] {
            assert!(!is_image_mime_type(mime), "{mime}");
        }
    }

    #[test]
    fn addresses_are_built_and_nonsense_is_refused() {
        let client = Client::new("https://mana.example/", Auth::None).expect("an address");
        let id: MediaId = "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().expect("an id");
        let base = format!("https://mana.example/api/v1/media/{id}");
        assert_eq!(client.file_url(id), format!("{base}/file"));
        assert_eq!(client.variant_url(id, Variant::Thumb), format!("{base}/file/thumb"));
        let params = TransformParams { w: Some(40), fit: Some(Fit::Inside), q: Some(7), ..TransformParams::default() };
        assert_eq!(client.transform_url(id, &params), format!("{base}/transform?w=40&fit=inside&q=7"));
        assert_eq!(client.transform_url(id, &TransformParams::default()), format!("{base}/transform"));
        for bad in ["", "mana.example", "ftp://x", "https://", "https://x?y=1"] {
            assert!(matches!(Client::new(bad, Auth::None), Err(ClientError::Address(_))), "{bad}");
        }
    }
}
