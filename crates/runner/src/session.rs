//! A signed-in persona with its connection to the product.

use std::collections::HashSet;

use mana_types::{Secret, SpaceId};

use crate::api::Api;
use crate::mcp::{Connection, McpError};

/// A signed-in persona with its connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) http: reqwest::Client,
    pub(crate) mcp_url: String,
    pub(crate) access_token: Secret,
    pub(crate) refresh_token: Secret,
    pub(crate) space: SpaceId,
    pub(crate) connection: Connection,
    pub(crate) refreshed: bool,
    /// Calls that an earlier process asked for and of which nobody knows whether they happened.
    pub(crate) resumed_calls: HashSet<String>,
}

impl Session {
    /// Whether a call that is made twice happens once, because the server knows its key.
    #[expect(clippy::unused_self, reason = "every server so far is Mana itself")]
    pub(crate) fn is_keyed(&self) -> bool {
        true
    }

    /// A new connection; before that, after a 401, a new token, but only once in a visit.
    pub(crate) async fn mend(&mut self, api: &Api, broken: &McpError) -> Result<(), McpError> {
        if *broken == McpError::Unauthorized {
            if self.refreshed {
                return Err(McpError::Unauthorized);
            }
            self.refreshed = true;
            let fresh = api.refresh(self.refresh_token.expose()).await.map_err(|error| {
                tracing::warn!(%error, "runner.token.not_refreshed");
                McpError::Unauthorized
            })?;
            self.access_token = Secret::new(fresh.access_token);
            self.refresh_token = Secret::new(fresh.refresh_token);
        }
        self.connection = Connection::open(&self.http, &self.mcp_url, self.access_token.expose(), self.space).await?;
        Ok(())
    }
}
