//! Commands that read or change something and end.

use std::io::{BufRead, IsTerminal, Write as _};

use mana_registry::Registry;
use serde_json::{Value, json};

use crate::app::{App, World};
use crate::cli::{Actions, Command, Config, Personas, Ratings, Role, User};
use crate::failure::{Failure, Result};
use crate::local::Local;
use crate::print::{self, short, text, time};
use crate::settings::{KEYS, Settings};
use crate::{seed, up};

mod cost;
mod media;
mod visits;

pub(crate) async fn run(settings: &Settings, command: Command, as_json: bool) -> Result {
    match command {
        Command::Personas(command) => personas(settings, command, as_json).await,
        Command::Actions(which) => actions(settings, &which, as_json).await,
        Command::Ratings(which) => ratings(settings, &which, as_json).await,
        Command::Visits(command) => visits::run(settings, command, as_json).await,
        Command::Cost(which) => cost::run(settings, &which, as_json).await,
        Command::Media(command) => media::run(settings, command, as_json).await,
        Command::User(command) => user(settings, command, as_json).await,
        Command::Token { email } => token(settings, email.as_deref(), as_json).await,
        Command::Config(Config::Show) => config(settings, as_json),
        Command::Config(Config::Check) => Ok(()), // they were read, or we would not be here
        Command::Openapi => openapi(settings),
        other => Err(Failure::Failed(format!("`{other:?}` has its own way in `main`"))),
    }
}

async fn personas(settings: &Settings, command: Personas, as_json: bool) -> Result {
    if let Personas::Seed { catalog, dry_run } = &command {
        return seed_command(settings, catalog.as_deref().or(settings.catalog.as_deref()), *dry_run, as_json).await;
    }
    let (app, local) = Local::open(settings).await?;
    let done = match command {
        Personas::List => list(&local, as_json).await,
        Personas::Show { who } => show(&local, &who, as_json).await,
        Personas::Pause { who, reason } => each(&local, &who, "pause", &json!({ "reason": reason }), "paused").await,
        Personas::Resume { who } => each(&local, &who, "resume", &json!({}), "resumed").await,
        Personas::Run { who } => {
            each(
                &local,
                &who,
                "run",
                &json!({}),
                "due now: visits in the next pass of a running server, or with `mana tick`",
            )
            .await
        }
        Personas::Remove { who, yes } => remove(&local, settings, who, yes).await,
        Personas::Seed { .. } => Ok(()),
    };
    app.close().await?;
    done
}

async fn seed_command(settings: &Settings, path: Option<&std::path::Path>, dry_run: bool, as_json: bool) -> Result {
    let catalog = seed::read_catalog(path)?;
    if dry_run {
        let emails: Vec<&str> = catalog.personas.iter().map(|person| person.email.as_str()).collect();
        if as_json {
            return print::json(&json!({ "wouldSeed": emails }));
        }
        print::say("the catalog is valid; these would be created or updated:");
        return print::out(&emails.join("\n"));
    }
    let (app, local) = Local::open(settings).await?;
    let seeded = seed::seed(&local, &catalog, settings).await;
    app.close().await?;
    if as_json {
        let failed: Vec<Value> =
            seeded.failed.iter().map(|(email, why)| json!({ "email": email, "error": why })).collect();
        print::json(&json!({ "seeded": seeded.done, "failed": failed }))?;
    }
    seed::report(&seeded)
}

async fn list(local: &Local, as_json: bool) -> Result {
    let personas = local.personas().await?;
    if as_json {
        return print::json(&json!({ "personas": personas }));
    }
    if personas.is_empty() {
        print::say("there are no personas yet: `mana personas seed` makes those of the catalog");
        return Ok(());
    }
    let rows = personas.iter().map(|persona| {
        vec![
            text(persona, "name"),
            text(persona, "email"),
            text(persona, "archetype"),
            text(persona, "tickCadence"),
            text(persona, "state"),
            time(persona, "lastActiveAt"),
            text(&persona["lastTick"], "outcome"),
            text(persona, "actions7d"),
            mean(persona),
            time(persona, "nextDueAt"),
        ]
    });
    let head =
        ["name", "e-mail", "archetype", "cadence", "state", "last active", "outcome", "calls 7d", "rating", "next due"];
    print::out(&print::table(&head, rows.collect()))
}

/// The mean of what a model rated; where there is none, the simulated mean, marked as such.
fn mean(persona: &Value) -> String {
    match (persona["meanRating"].as_f64(), persona["simulated"]["meanRating"].as_f64()) {
        (Some(mean), _) => format!("{mean:.1}"),
        (None, Some(mean)) => format!("{mean:.1} (simulated)"),
        (None, None) => String::new(),
    }
}

async fn show(local: &Local, who: &str, as_json: bool) -> Result {
    let id = text(&local.persona(who).await?, "userId");
    let detail = local.get(&format!("/api/v1/admin/personas/{id}")).await?;
    if as_json {
        return print::json(&detail);
    }
    let persona = &detail["persona"];
    print::out(&format!(
        "{} <{}>\n{}, {}, {} ({})\n",
        text(persona, "name"),
        text(persona, "email"),
        text(persona, "archetype"),
        text(persona, "tickCadence"),
        text(persona, "timezone"),
        text(persona, "state"),
    ))?;
    let visits = detail["ticks"].as_array().into_iter().flatten().map(|tick| {
        vec![
            time(tick, "startedAt"),
            text(tick, "outcome"),
            text(tick, "engine"),
            short(&text(tick, "summary"), 60),
            text(tick, "tickId"),
        ]
    });
    print::out(&print::table(&["visit", "outcome", "engine", "in short", "id"], visits.collect()))?;
    let ratings = detail["feedbackByModule"].as_array().into_iter().flatten().map(|module| {
        let mean = |member: &str| module[member].as_f64().map(|mean| format!("{mean:.2}")).unwrap_or_default();
        vec![
            text(module, "module"),
            text(module, "ratings"),
            mean("avgRating"),
            text(module, "simulatedRatings"),
            mean("simulatedAvgRating"),
        ]
    });
    let head = ["module", "ratings", "mean", "simulated", "mean"];
    print::out(&format!("\n{}", print::table(&head, ratings.collect())))?;
    print::out(&format!("\n{}", action_table(&detail["recentActions"])))
}

async fn each(local: &Local, who: &[String], verb: &str, body: &Value, done: &str) -> Result {
    // All are looked up before anything is changed.
    let mut personas = Vec::new();
    for name in who {
        personas.push(local.persona(name).await?);
    }
    for persona in personas {
        let id = text(&persona, "userId");
        local.post(&format!("/api/v1/admin/personas/{id}/{verb}"), body).await?;
        print::say(&format!("{}: {done}", text(&persona, "email")));
    }
    Ok(())
}

async fn remove(local: &Local, settings: &Settings, who: Vec<String>, yes: bool) -> Result {
    let catalog = seed::read_catalog(settings.catalog.as_deref())?;
    let in_catalog = |email: &str| catalog.personas.iter().any(|person| person.email.eq_ignore_ascii_case(email));
    let mut doomed = Vec::new();
    if who.is_empty() {
        doomed.extend(local.personas().await?.into_iter().filter(|persona| !in_catalog(&text(persona, "email"))));
        if doomed.is_empty() {
            print::say("every persona is in the catalog, nothing to remove; name those that shall go");
            return Ok(());
        }
    }
    for name in who {
        doomed.push(local.persona(&name).await?);
    }
    print::say("these are deleted with their account, spaces, records, actions and ratings:");
    for persona in &doomed {
        let email = text(persona, "email");
        let note = if in_catalog(&email) { "in the catalog: seeding makes it again" } else { "not in the catalog" };
        print::say(&format!("  {email}  ({note})"));
    }
    if !yes && !confirmed()? {
        return Err(Failure::Interrupted);
    }
    for persona in &doomed {
        local.delete(&format!("/api/v1/admin/personas/{}", text(persona, "userId"))).await?;
        print::say(&format!("{}: deleted", text(persona, "email")));
    }
    Ok(())
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("this asks before it deletes: add `--yes` where nobody can answer".into()));
    }
    let mut answer = String::new();
    let asked =
        write!(std::io::stderr(), "Delete them? [y/N] ").and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "j" | "ja"))
}

fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        let Some(value) = value else { continue };
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(&print::segment(value));
    }
    out
}

fn action_table(actions: &Value) -> String {
    let rows = actions.as_array().into_iter().flatten().map(|action| {
        vec![
            time(action, "at"),
            text(action, "email"),
            text(action, "toolName"),
            text(action, "result"),
            text(action, "latencyMs"),
            short(&text(action, "errorMessage"), 60),
        ]
    });
    print::table(&["when", "persona", "tool", "result", "ms", "error"], rows.collect())
}

async fn persona_id(local: &Local, who: Option<&str>) -> Result<Option<String>> {
    match who {
        Some(who) => Ok(Some(text(&local.persona(who).await?, "userId"))),
        None => Ok(None),
    }
}

async fn actions(settings: &Settings, which: &Actions, as_json: bool) -> Result {
    let (app, local) = Local::open(settings).await?;
    let persona = persona_id(&local, which.persona.as_deref()).await?;
    let query = query(&[
        ("persona", persona.as_deref()),
        ("tick", which.tick.as_deref()),
        ("tool", which.tool.as_deref()),
        ("result", which.errors.then_some("error")),
        ("limit", Some(&which.limit.to_string())),
    ]);
    let page = local.get(&format!("/api/v1/admin/actions{query}")).await?;
    app.close().await?;
    if as_json {
        return print::json(&page);
    }
    if page["items"].as_array().is_none_or(Vec::is_empty) {
        let narrowed = which.persona.is_some() || which.tick.is_some() || which.tool.is_some() || which.errors;
        print::say(if narrowed {
            "no action fits"
        } else {
            "no actions yet: personas act when they visit (`mana tick`)"
        });
        return Ok(());
    }
    print::out(&action_table(&page["items"]))
}

async fn ratings(settings: &Settings, which: &Ratings, as_json: bool) -> Result {
    let (app, local) = Local::open(settings).await?;
    let persona = persona_id(&local, which.persona.as_deref()).await?;
    let query = query(&[
        ("persona", persona.as_deref()),
        ("module", which.module.as_deref()),
        ("limit", Some(&which.limit.to_string())),
    ]);
    let page = local.get(&format!("/api/v1/admin/ratings{query}")).await?;
    app.close().await?;
    if as_json {
        return print::json(&page);
    }
    if page["items"].as_array().is_none_or(Vec::is_empty) {
        let narrowed = which.persona.is_some() || which.module.is_some();
        print::say(if narrowed {
            "no rating fits"
        } else {
            "no ratings yet: personas rate at the end of a visit (`mana tick`)"
        });
        return Ok(());
    }
    let rows = page["items"].as_array().into_iter().flatten().map(|rating| {
        let simulated = if rating["simulated"] == true { "rehearsal" } else { "model" };
        vec![
            time(rating, "at"),
            text(rating, "email"),
            text(rating, "module"),
            text(rating, "rating"),
            simulated.to_owned(),
            short(&text(rating, "notes"), 70),
        ]
    });
    print::out(&print::table(&["when", "persona", "module", "rating", "by", "notes"], rows.collect()))
}

async fn user(settings: &Settings, command: User, as_json: bool) -> Result {
    let User::Add { email, name, admin, password_stdin } = command;
    let (password, made) = if password_stdin {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| Failure::Failed(format!("standard input: {error}")))?;
        (line.trim_end_matches(['\r', '\n']).to_owned(), false)
    } else {
        (up::new_password(&World::new()), true)
    };
    let app = App::open(settings, &[Role::Identity], settings.listen, false).await?;
    let identity = app.identity.as_ref().ok_or_else(|| Failure::Failed("there is no identity role".into()))?;
    let added = if admin {
        identity.add_admin(&email, name.as_deref(), &password).await
    } else {
        identity.add_user(&email, name.as_deref(), &password).await
    };
    let account = added.map_err(|error| match &error {
        mana_identity::Error::EmailTaken => Failure::Conflict(error.to_string()),
        mana_identity::Error::Invalid(_) => Failure::Usage(error.to_string()),
        _ => Failure::Other(error.into()),
    })?;
    app.close().await?;
    if as_json {
        let password = made.then_some(password);
        return print::json(
            &json!({ "userId": account.id, "email": account.email, "role": account.role, "password": password }),
        );
    }
    print::out(&format!("{}  {}", account.id, account.email))?;
    if made {
        print::say(&format!("password  {password}   (shown only now)"));
    }
    Ok(())
}

async fn token(settings: &Settings, email: Option<&str>, as_json: bool) -> Result {
    let app = App::open(settings, &[Role::Identity], settings.listen, false).await?;
    let identity = app.identity.as_ref().ok_or_else(|| Failure::Failed("there is no identity role".into()))?;
    let account = match email {
        Some(email) => identity.user_by_email(email).await.map_err(|error| Failure::Other(error.into()))?,
        None => crate::local::first_admin(identity).await?,
    };
    let account = account.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no account `{}`: `mana user add EMAIL` makes one",
            email.unwrap_or("with the role admin")
        ))
    })?;
    let token = identity.mint(account.id).await.map_err(|error| Failure::Other(error.into()))?;
    app.close().await?;
    if as_json {
        print::json(&json!({ "email": account.email, "token": token, "expiresIn": 900 }))
    } else {
        print::out(&token)
    }
}

fn config(settings: &Settings, as_json: bool) -> Result {
    let shown = |name: &str| {
        let value = &settings.values[name];
        let secret = KEYS.iter().any(|key| key.name == name && key.secret);
        if secret && !value.text.is_empty() { "***".to_owned() } else { hide_password(&value.text) }
    };
    if as_json {
        let all: serde_json::Map<String, Value> = KEYS
            .iter()
            .map(|key| {
                let origin = settings.values[key.name].origin.to_string();
                (key.name.to_owned(), json!({ "value": shown(key.name), "source": origin, "environment": key.env }))
            })
            .collect();
        return print::json(&Value::Object(all));
    }
    let rows = KEYS.iter().map(|key| {
        vec![key.name.to_owned(), shown(key.name), settings.values[key.name].origin.to_string(), key.env.to_owned()]
    });
    print::out(&print::table(&["setting", "value", "from", "environment"], rows.collect()))
}

/// An address without the password in it.
fn hide_password(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((user, host)) => format!("{scheme}://{}:***@{host}", user.split(':').next().unwrap_or_default()),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

fn openapi(settings: &Settings) -> Result {
    let registry: Registry = mana_modules::registry().map_err(|error| Failure::Failed(error.to_string()))?;
    print::json(&mana_gateway::openapi(&registry, &settings.public_url(settings.listen)))
}
