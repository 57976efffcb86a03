//! The admin interfaces, called from the command line: the same routes as over the network, in this process.

use axum::Router;
use axum::body::Body;
use http::{Method, Request, header};
use mana_identity::Identity;
use serde_json::Value;
use tower::ServiceExt;

use crate::app::App;
use crate::cli::Role;
use crate::failure::{Failure, Result};
use crate::settings::Settings;

/// The largest answer that is read, in bytes.
const MOST: usize = 64 * 1024 * 1024;

/// An administrator at the routes of this installation.
pub(crate) struct Local {
    router: Router,
    token: String,
}

impl Local {
    /// Speaks as the first administrator; where there is none, says how to make one.
    pub(crate) async fn as_admin(app: &App) -> Result<Self> {
        let identity =
            app.identity.as_ref().ok_or_else(|| Failure::Failed("this process has no identity role".into()))?;
        let admin = first_admin(identity).await?.ok_or_else(|| {
            Failure::NotFound("there is no administrator yet: `mana user add EMAIL --admin` makes one".into())
        })?;
        let token = identity.mint(admin.id).await.map_err(|error| Failure::Other(error.into()))?;
        Ok(Self { router: app.router.clone(), token })
    }

    /// Opens the services that admin commands need, and speaks as the first administrator.
    pub(crate) async fn open(settings: &Settings) -> Result<(App, Self)> {
        let app = App::open(settings, &[Role::Identity], settings.listen, false).await?;
        let local = Self::as_admin(&app).await?;
        Ok((app, local))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.send(Method::DELETE, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let answer = match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let status = answer.status();
        let bytes =
            axum::body::to_bytes(answer.into_body(), MOST).await.map_err(|error| Failure::Failed(error.to_string()))?;
        let body: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .map_err(|error| Failure::Failed(format!("an answer could not be read: {error}")))?
        };
        if status.is_success() { Ok(body) } else { Err(Failure::of_problem(status.as_u16(), &body)) }
    }

    /// All personas, newest first.
    pub(crate) async fn personas(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut path = "/api/v1/admin/personas?limit=500".to_owned();
        loop {
            let page = self.get(&path).await?;
            all.extend(page["personas"].as_array().into_iter().flatten().cloned());
            match page["nextCursor"].as_str() {
                Some(cursor) => path = format!("/api/v1/admin/personas?limit=500&cursor={cursor}"),
                None => return Ok(all),
            }
        }
    }

    /// The persona of this first name, e-mail or id.
    pub(crate) async fn persona(&self, who: &str) -> Result<Value> {
        let wanted = who.to_lowercase();
        let mut found: Vec<Value> = self.personas().await?.into_iter().filter(|persona| is(persona, &wanted)).collect();
        match (found.pop(), found.is_empty()) {
            (Some(persona), true) => Ok(persona),
            (Some(_), false) => Err(Failure::Usage(format!("`{who}` is the name of several personas, use the e-mail"))),
            (None, _) => Err(Failure::NotFound(format!("there is no persona `{who}`: `mana personas list` shows all"))),
        }
    }
}

fn is(persona: &Value, wanted: &str) -> bool {
    let text = |member: &str| persona[member].as_str().unwrap_or_default().to_lowercase();
    let name = text("name");
    text("email") == wanted || text("userId") == wanted || name == wanted || name.split(' ').next() == Some(wanted)
}

/// The oldest account with the role `admin`.
pub(crate) async fn first_admin(identity: &Identity) -> Result<Option<mana_identity::Account>> {
    identity.first_admin().await.map_err(|error| Failure::Other(error.into()))
}
