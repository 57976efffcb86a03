//! The population: making, finding, showing, stopping and removing personas.

use mana_identity::{Account, AccountKind, Name, account};
use mana_store::{Source, Tx};
use mana_types::{Cursor, Page, Timestamp, UserId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::descriptor::{Descriptor, NewPersona};
use crate::feedback::PARSE;
use crate::history::{ActionRow, TickRow};
use crate::run::{Run, State};
use crate::{Error, Personas, Result, store};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// How many actions and visits the page of a persona shows.
const SHOWN: i64 = 20;

/// How many ratings there are, and their average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ratings {
    /// How many.
    pub ratings: i64,
    /// Their average; none where there is none.
    pub mean_rating: Option<f64>,
}

/// The latest visit of a persona.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastTick {
    /// Its id.
    pub tick_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<String>,
    /// By the rehearsal engine and not by a model.
    pub simulated: bool,
}

/// A persona with its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonaView {
    /// Its account.
    pub user_id: UserId,
    /// Its e-mail.
    pub email: String,
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// The version of its prompt.
    pub prompt_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its description last changed.
    pub updated_at: Timestamp,
    /// Whether it acts.
    pub state: State,
    /// Why it does not.
    pub pause_reason: Option<String>,
    /// When it acts next; none while it does not.
    pub next_due_at: Option<Timestamp>,
    /// Failed visits since the last good one.
    pub failures: i64,
    /// When it was last here.
    pub last_active_at: Option<Timestamp>,
    /// Actions of the visits of the last seven days.
    pub actions7d: i64,
    /// Its latest visit.
    pub last_tick: Option<LastTick>,
    /// What it rated with a model.
    #[serde(flatten)]
    pub rated: Ratings,
    /// What the rehearsal engine rated in its place: not an opinion.
    pub simulated: Ratings,
}

/// A persona that is due.
#[derive(Debug, Clone)]
pub struct DuePersona {
    /// Its account.
    pub user_id: UserId,
    /// Its e-mail.
    pub email: String,
    /// What it is.
    pub descriptor: Descriptor,
    /// When it was last here.
    pub last_active_at: Option<Timestamp>,
}

/// The ratings of one module by one persona.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleRatings {
    /// The module.
    pub module: String,
    /// How many ratings by a model.
    pub ratings: i64,
    /// Their average.
    pub avg_rating: Option<f64>,
    /// How many by the rehearsal engine.
    pub simulated_ratings: i64,
    /// Their average.
    pub simulated_avg_rating: Option<f64>,
    /// How often it had no opinion.
    pub no_opinion: i64,
}

/// A persona, what it did lately, and what it thinks.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonaPage {
    /// The persona.
    pub persona: PersonaView,
    /// Its latest actions.
    pub recent_actions: Vec<ActionRow>,
    /// What it thinks of each module.
    pub feedback_by_module: Vec<ModuleRatings>,
    /// Answers that could not be read; part of no average.
    pub parse_failures: i64,
    /// Its latest visits.
    pub ticks: Vec<TickRow>,
}

impl Personas {
    /// Makes a persona, or brings the one with this e-mail up to date, in one transaction. A new one signs up the way
    /// any user does. An account of a person is never touched. Returns the account, and whether it is new.
    #[tracing::instrument(name = "personas.upsert", skip_all)]
    pub async fn upsert(&self, new: &NewPersona) -> Result<(Account, bool)> {
        let known = account::find_by_email(&mut Source::Db(&self.db), new.email.as_str()).await?;
        refuse_person(known.as_ref())?; // before the work of hashing
        let hashed = self.identity.hash_password(&new.password).await?;
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let known = account::find_by_email(&mut Source::Tx(&mut tx), new.email.as_str()).await?;
        refuse_person(known.as_ref())?;
        let is_new = known.is_none();
        let persona = if let Some(persona) = known {
            account::set_password(&mut tx, persona.id, &hashed, now).await?;
            if let Some(name) = &new.name {
                account::set_name(&mut tx, persona.id, name, now).await?;
            }
            persona
        } else {
            let name = match &new.name {
                Some(name) => name.clone(),
                None => name_of(new)?,
            };
            let (clock, random) = (&*self.clock, &*self.random);
            let signed_up = account::sign_up(&mut tx, clock, random, (&new.email, &name), &hashed, now).await?;
            account::promote_to_persona(&mut tx, signed_up.id, now).await?
        };
        let locale = new.descriptor.locale.as_deref().unwrap_or(&persona.locale);
        let timezone = new.descriptor.timezone.as_deref().unwrap_or("UTC");
        account::set_place(&mut tx, persona.id, locale, timezone, now).await?;
        self.describe(&mut tx, persona.id, &new.descriptor, now).await?;
        tx.commit().await?;
        Ok((persona, is_new))
    }

    /// Writes the description, and the run state that follows from it.
    async fn describe(&self, tx: &mut Tx, user: UserId, descriptor: &Descriptor, now: Timestamp) -> Result<()> {
        let run = store::run(tx, user).await?;
        store::save_persona(tx, user, descriptor, now).await?;
        let schedule = descriptor.schedule(user);
        match run {
            None => store::add_run(tx, &Run::new(user, schedule, now)).await?,
            Some(run) if run.schedule == schedule => {}
            Some(mut run) => {
                run.reschedule(schedule, now);
                store::save_run(tx, &run).await?;
            }
        }
        Ok(())
    }

    /// Removes a persona with its account, the spaces that only it owns, and everything it did.
    #[tracing::instrument(name = "personas.remove", skip_all, fields(persona = %user))]
    pub async fn remove(&self, user: UserId) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let found = account::find(&mut Source::Tx(&mut tx), user).await?.ok_or(Error::UnknownPersona)?;
        if found.kind != AccountKind::Persona {
            return Err(Error::NotAPersona);
        }
        // A visit under way locks this row first and the persona after it, so whoever removes does, too.
        store::run(&mut tx, user).await?;
        account::erase(&mut tx, user).await?;
        Ok(tx.commit().await?)
    }

    /// Whether there is a persona with this id.
    pub async fn exists(&self, user: UserId) -> Result<bool> {
        Ok(store::is_persona(&self.db, user).await?)
    }

    /// Stops a persona: no new visit begins. Returns how it stands then.
    pub async fn pause(&self, user: UserId, reason: Option<&str>) -> Result<PersonaView> {
        self.change_run(user, |run, _| {
            run.pause(reason);
            Ok(())
        })
        .await
    }

    /// Lets a paused or quarantined persona go on. Returns how it stands then.
    pub async fn resume(&self, user: UserId) -> Result<PersonaView> {
        self.change_run(user, |run, now| {
            run.resume(now);
            Ok(())
        })
        .await
    }

    /// Makes a persona due at once, ahead of the others. Returns how it stands then.
    pub async fn run_now(&self, user: UserId) -> Result<PersonaView> {
        self.change_run(user, |run, now| run.run_now(now).map_err(|state| Error::NotRunnable(state.as_str()))).await
    }

    async fn change_run(
        &self,
        user: UserId,
        change: impl FnOnce(&mut Run, Timestamp) -> Result<()> + Send,
    ) -> Result<PersonaView> {
        let now = self.db.now().await?;
        let mut tx = self.db.begin().await?;
        let mut run = store::run(&mut tx, user).await?.ok_or(Error::UnknownPersona)?;
        change(&mut run, now)?;
        store::save_run(&mut tx, &run).await?;
        tx.commit().await?;
        self.view(user, now).await
    }

    async fn view(&self, user: UserId, now: Timestamp) -> Result<PersonaView> {
        store::persona(&self.db, user, now.plus_millis(-7 * DAY_MS)).await?.ok_or(Error::UnknownPersona)
    }

    /// Personas with their figures, newest first.
    pub async fn list(&self, limit: u32, before: Option<Cursor>) -> Result<Page<PersonaView>> {
        let recent = self.db.now().await?.plus_millis(-7 * DAY_MS);
        let mut items = store::list(&self.db, recent, i64::from(limit) + 1, before).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| more);
        let next_cursor =
            last.map(|last| Cursor { key: last.created_at.as_millis(), id: last.user_id.uuid() }.to_string());
        Ok(Page { items, next_cursor })
    }

    /// One persona, what it did lately and what it thinks.
    pub async fn page(&self, user: UserId) -> Result<PersonaPage> {
        let persona = self.view(user, self.db.now().await?).await?;
        let rows = store::module_ratings(&self.db, user).await?;
        let parse_failures = rows.iter().filter(|row| row.module == PARSE).map(|row| row.answers).sum();
        let mut modules: Vec<ModuleRatings> = Vec::new();
        for row in rows.into_iter().filter(|row| row.module != PARSE) {
            if modules.last().is_none_or(|last| last.module != row.module) {
                modules.push(ModuleRatings {
                    module: row.module,
                    ratings: 0,
                    avg_rating: None,
                    simulated_ratings: 0,
                    simulated_avg_rating: None,
                    no_opinion: 0,
                });
            }
            let Some(module) = modules.last_mut() else { continue };
            module.no_opinion += row.answers - row.ratings;
            if row.simulated {
                (module.simulated_ratings, module.simulated_avg_rating) = (row.ratings, row.mean);
            } else {
                (module.ratings, module.avg_rating) = (row.ratings, row.mean);
            }
        }
        Ok(PersonaPage {
            persona,
            recent_actions: store::actions_of(&self.db, user, SHOWN).await?,
            feedback_by_module: modules,
            parse_failures,
            ticks: store::ticks_of(&self.db, user, SHOWN).await?,
        })
    }

    /// Personas that are due now, those that never ran first, then the longest idle, and the time of the answer.
    pub async fn due(&self, limit: u32) -> Result<(Vec<DuePersona>, Timestamp)> {
        let now = self.db.now().await?;
        Ok((store::due(&self.db, now, i64::from(limit)).await?, now))
    }

    /// The state of the population, and what happened since a time (by default in the last day).
    pub async fn summary(&self, since: Option<Timestamp>) -> Result<Value> {
        let now = self.db.now().await?;
        let since = since.unwrap_or(now.plus_millis(-DAY_MS));
        let counts = store::counts(&mut Source::Db(&self.db), now).await?;
        let recent = store::recent(&self.db, since).await?;
        let outcomes: Vec<Value> = recent
            .ticks
            .iter()
            .map(|(outcome, finished, simulated, ticks)| {
                let outcome = outcome.as_deref().unwrap_or(if *finished { "reported" } else { "running" });
                json!({ "outcome": outcome, "simulated": simulated, "ticks": ticks })
            })
            .collect();
        let calls = |wanted: Option<&str>| -> i64 {
            let rows = recent.actions.iter().filter(|(result, ..)| wanted.is_none_or(|wanted| wanted == result));
            rows.map(|(_, _, count)| count).sum()
        };
        let rated = |wanted: bool| {
            let row = recent.ratings.iter().find(|(simulated, ..)| *simulated == wanted);
            let (ratings, mean_rating) = row.map_or((0, None), |(_, _, ratings, mean)| (*ratings, *mean));
            Ratings { ratings, mean_rating }
        };
        Ok(json!({
            "serverTime": now,
            "personas": counts.personas,
            "states": {
                "idle": counts.idle, "running": counts.running, "paused": counts.paused, "quarantined": counts.quarantined,
            },
            "due": counts.due,
            "neverRan": counts.never_ran,
            "nextDueAt": counts.next_due_at,
            "recent": {
                "since": since,
                "ticks": recent.ticks.iter().map(|(.., ticks)| ticks).sum::<i64>(),
                "outcomes": outcomes,
                "actions": calls(None),
                "errors": calls(Some("error")),
                "rated": rated(false),
                "simulated": rated(true),
                "parseFailures": recent.ratings.iter().map(|(_, failures, ..)| failures).sum::<i64>(),
            },
        }))
    }
}

/// An account of a person is never converted.
fn refuse_person(account: Option<&Account>) -> Result<()> {
    match account {
        Some(account) if account.kind != AccountKind::Persona => Err(mana_identity::Error::BelongsToPerson.into()),
        _ => Ok(()),
    }
}

/// What stands before the `@`.
fn name_of(new: &NewPersona) -> Result<Name> {
    let email = new.email.as_str();
    let local = email.rsplit_once('@').map_or(email, |(local, _)| local);
    Name::parse(local).map_err(|_| {
        let message = format!("`{local}` makes no name, send one");
        Error::Invalid(vec![mana_web::FieldError::new("name", message)])
    })
}
