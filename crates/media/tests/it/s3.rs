//! An S3 server over a folder, in this process.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use mana_media::{Location, S3};
use mana_types::Secret;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

pub(crate) struct Server {
    address: String,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("photos")).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).expect("a store"));
        builder.set_auth(SimpleAuth::from_single("mana", "a secret key"));
        let service = builder.build();
        let router = Router::new().fallback(move |request: Request| {
            let service = service.clone();
            async move {
                let (parts, body) = request.into_parts();
                let request = Request::from_parts(parts, s3s::Body::http_body_unsync(body));
                match service.call(request).await {
                    Ok(response) => response.map(axum::body::Body::new).into_response(),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
                }
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { address, task, _folder: folder }
    }

    pub(crate) fn location(&self) -> Location {
        Location::S3(Box::new(S3 {
            bucket: "photos".to_owned(),
            prefix: "mana/test".to_owned(),
            endpoint: Some(self.address.clone()),
            region: None,
            key_id: Some("mana".to_owned()),
            secret: Secret::new("a secret key"),
        }))
    }
}
