//! The way to an S3 server: the HTTP client that the rest of Mana uses, without the second protocol version that
//! `object_store` would bring along.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};

/// Makes the client, once for each store.
#[derive(Debug)]
pub(super) struct Connector;

#[derive(Debug)]
struct Client(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        // Fails only if a provider is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("mana-media/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            // Between two pieces, not for the whole: a large file over a slow line takes its time.
            .read_timeout(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_mins(1))
            .build()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(Client(client)))
    }
}

#[async_trait::async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let uri = parts.uri.to_string();
        let url = uri.parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        *sent.body_mut() = Some(reqwest::Body::wrap(body));
        let answer: Response<reqwest::Body> = self.0.execute(sent).await.map_err(failed)?.into();
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(failed))))
    }
}

/// What went wrong, in the words by which `object_store` decides whether to try again.
fn failed(error: reqwest::Error) -> HttpError {
    let mut kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_body() {
        HttpErrorKind::Interrupted
    } else {
        HttpErrorKind::Unknown
    };
    let mut cause = error.source();
    while let (HttpErrorKind::Unknown, Some(found)) = (kind, cause) {
        // A connection that the server closed while it was idle: nothing was done.
        let closed = found
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted());
        // One that broke while it was written to. Something may have been done, but every request of ours may be made
        // twice: a key has one content, and whoever finds it there is content.
        let broken = found.downcast_ref::<std::io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::UnexpectedEof
            )
        });
        if closed || broken {
            kind = HttpErrorKind::Request;
        }
        cause = found.source();
    }
    HttpError::new(kind, error.without_url())
}
