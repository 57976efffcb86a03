//! A signed-in persona with its connection to the product.

use std::collections::HashSet;

use mana_types::{Secret, SpaceId};

use crate::api::Api;
use crate::mcp::{Connection, McpError};
use crate::target::{OwnToken, Renewal, Target};
use crate::wire::SignedIn;

/// A signed-in persona with its connection.
#[derive(Debug)]
pub(crate) struct Session {
    target: Target,
    access_token: Secret,
    refresh_token: Secret,
    space: SpaceId,
    pub(crate) connection: Connection,
    /// Whether a token had to be renewed already: it is done once in a visit.
    renewed: bool,
    /// Calls that an earlier process asked for and of which nobody knows whether they happened.
    pub(crate) resumed_calls: HashSet<String>,
}

impl Session {
    /// Connects to where the persona goes.
    pub(crate) async fn open(
        target: Target,
        signed_in: SignedIn,
        space: SpaceId,
        resumed_calls: HashSet<String>,
    ) -> Result<Self, McpError> {
        let access_token = Secret::new(signed_in.access_token);
        let connection = target.connect(OwnToken { token: &access_token, space }).await?;
        let refresh_token = Secret::new(signed_in.refresh_token);
        Ok(Self { target, access_token, refresh_token, space, connection, renewed: false, resumed_calls })
    }

    /// Whether a call that is made twice happens once, because the server knows its key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.connection.is_keyed()
    }

    /// A new connection; before that, after a 401, a new token, but only once in a visit.
    pub(crate) async fn mend(&mut self, api: &Api, broken: &McpError) -> Result<(), McpError> {
        if *broken == McpError::Unauthorized {
            if self.renewed {
                return Err(McpError::Unauthorized);
            }
            self.renewed = true;
            match self.target.renew(&self.connection).await {
                Renewal::OwnToken => {
                    let fresh = api.refresh(self.refresh_token.expose()).await.map_err(|error| {
                        tracing::warn!(%error, "runner.token.not_refreshed");
                        McpError::Unauthorized
                    })?;
                    self.access_token = Secret::new(fresh.access_token);
                    self.refresh_token = Secret::new(fresh.refresh_token);
                }
                Renewal::Fresh => {}
                Renewal::Nothing => return Err(McpError::Unauthorized),
            }
        }
        let own = OwnToken { token: &self.access_token, space: self.space };
        self.connection = self.target.connect(own).await?;
        Ok(())
    }
}
