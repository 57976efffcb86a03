//! Lockout: after five wrong passwords within 15 minutes an e-mail is closed until 30 minutes after the last of them.
//!
//! It is counted per lower-case e-mail, whether an account has it or not, so that the answer tells nothing. The five
//! most recent failures decide; an attempt while closed is not looked at and does not count. The outcome of a
//! comparison is only told after the count has been taken again, so a burst of guesses at once gets no more answers
//! than guesses one by one.

use mana_store::{Db, Source, Tx};
use mana_types::Timestamp;

use crate::{Email, Error, store};

/// Five failures within this time close an e-mail.
const WINDOW_MS: i64 = 15 * 60 * 1000;
/// How long after its last failure an e-mail stays closed.
const CLOSED_MS: i64 = 30 * 60 * 1000;

/// When failures count as one attack, and how long it takes to be over.
pub(crate) const RULE: Rule = Rule { window_ms: WINDOW_MS, closed_ms: CLOSED_MS };

/// The two times of the rule, for the statements that apply it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) window_ms: i64,
    pub(crate) closed_ms: i64,
}

/// The newest failure of an e-mail and the fifth newest, if there are five.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct Failures {
    pub(crate) at_1: Timestamp,
    pub(crate) at_5: Option<Timestamp>,
}

impl Failures {
    fn closed_until(self) -> Option<Timestamp> {
        let fifth = self.at_5?;
        (self.at_1.since(fifth) <= WINDOW_MS).then(|| self.at_1.plus_millis(CLOSED_MS))
    }
}

fn refuse_while_closed(failures: Option<Failures>, now: Timestamp) -> Result<(), Error> {
    match failures.and_then(Failures::closed_until) {
        Some(until) if now < until => {
            let millis = u64::try_from(until.since(now)).unwrap_or_default();
            Err(Error::Locked { retry_after_secs: millis.div_ceil(1000) })
        }
        _ => Ok(()),
    }
}

/// Refuses an e-mail that is closed, before anything costs time.
pub(crate) async fn check(db: &Db, email: &Email, now: Timestamp) -> Result<(), Error> {
    refuse_while_closed(store::failures(&mut Source::Db(db), email.key()).await?, now)
}

/// Counts a wrong password. If the e-mail was closed meanwhile, that is the answer and nothing is counted.
pub(crate) async fn count(tx: &mut Tx, email: &Email, now: Timestamp) -> Result<(), Error> {
    if store::add_failure(tx, email.key(), RULE, now).await? {
        return Ok(());
    }
    refuse_while_closed(store::failures(&mut Source::Tx(tx), email.key()).await?, now)
}

/// Forgets the failures after a right password. If the e-mail was closed meanwhile, that is the answer.
pub(crate) async fn clear(tx: &mut Tx, email: &Email, now: Timestamp) -> Result<(), Error> {
    store::clear_failures(tx, email.key(), RULE, now).await?;
    refuse_while_closed(store::failures(&mut Source::Tx(tx), email.key()).await?, now)
}

/// Removes failures that can close nothing any more.
pub(crate) async fn sweep(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    Ok(store::sweep_failures(tx, now.plus_millis(-CLOSED_MS)).await?)
}
