//! Everything that is logged on a thread, as text.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber that takes every level of every crate; of the MCP library only what the program's own filter leaves of
/// it, because below that it writes down whole results.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<String>>);

impl Logged {
    /// Listens on this thread from now on. A test beside this one may have met a line's place for the first time just when
    /// this listener came, and put down that nobody listens: that is looked at again.
    pub(crate) fn listen(&self) -> DefaultGuard {
        let listening = tracing::subscriber::set_default(self.clone());
        tracing::callsite::rebuild_interest_cache();
        listening
    }

    pub(crate) fn text(&self) -> String {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").expect("writing to a String cannot fail");
    }
}

impl Subscriber for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with("rmcp") || *metadata.level() <= Level::INFO
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.lock()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.lock()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.lock()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
