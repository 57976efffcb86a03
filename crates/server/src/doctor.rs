//! `mana doctor`: is everything in order?

use serde_json::{Value, json};

use crate::app::{App, World, make_folder, open_database, runner_options, service_keys};
use crate::cli::Role;
use crate::failure::{Failure, Result};
use crate::local::Local;
use crate::print;
use crate::settings::{Settings, own_url};

struct Finding {
    what: &'static str,
    ok: bool,
    says: String,
}

fn fine(what: &'static str, says: impl Into<String>) -> Finding {
    Finding { what, ok: true, says: says.into() }
}

fn wrong(what: &'static str, says: impl Into<String>) -> Finding {
    Finding { what, ok: false, says: says.into() }
}

/// Looks at everything that a server needs; each problem comes with what to do.
pub(crate) async fn run(settings: &Settings, as_json: bool) -> Result {
    let mut findings = vec![fine("settings", "valid")];
    findings.push(data_folder(settings));
    let world = World::new();
    match open_database(settings, &world).await {
        Ok(db) => {
            findings.push(match db.version().await {
                Ok(version) => fine("database", format!("{version}, up to date")),
                Err(error) => wrong("database", error.to_string()),
            });
            db.close().await?;
            population(settings, &mut findings).await;
        }
        Err(failure) => findings.push(wrong("database", failure.to_string())),
    }
    findings.push(match mana_modules::registry() {
        Ok(registry) => {
            fine("modules", format!("{} modules, {} tools", registry.modules().len(), registry.tools().count()))
        }
        Err(error) => wrong("modules", error.to_string()),
    });
    findings.push(match crate::seed::read_catalog(settings.catalog.as_deref()) {
        Ok(catalog) => fine("catalog", format!("{} people", catalog.personas.len())),
        Err(failure) => wrong("catalog", failure.to_string()),
    });
    runner(settings, &world, &mut findings);
    findings.push(server(settings).await);
    report(&findings, as_json)
}

fn data_folder(settings: &Settings) -> Finding {
    let probe = settings.data.join(".doctor");
    if let Err(failure) = make_folder(&settings.data) {
        return wrong("data", failure.to_string());
    }
    match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => fine("data", format!("{} can be written", settings.data.display())),
        Err(error) => wrong(
            "data",
            format!("{} cannot be written: {error}; choose another with `--data`", settings.data.display()),
        ),
    }
}

async fn population(settings: &Settings, findings: &mut Vec<Finding>) {
    let app = match App::open(settings, &[Role::Identity], settings.listen, false).await {
        Ok(app) => app,
        Err(failure) => {
            findings.push(wrong("services", failure.to_string()));
            return;
        }
    };
    match Local::as_admin(&app).await {
        Ok(local) => {
            findings.push(fine("administrator", "there is one"));
            findings.push(match local.get("/api/v1/admin/personas").await {
                Ok(all) => match all["personas"].as_array().map_or(0, Vec::len) {
                    0 => wrong("personas", "none: `mana personas seed` makes those of the catalog"),
                    count => fine("personas", count.to_string()),
                },
                Err(failure) => wrong("personas", failure.to_string()),
            });
        }
        Err(failure) => findings.push(wrong("administrator", failure.to_string())),
    }
    if let Err(failure) = app.close().await {
        findings.push(wrong("services", failure.to_string()));
    }
}

fn runner(settings: &Settings, world: &World, findings: &mut Vec<Finding>) {
    let keys = match service_keys(settings, world) {
        Ok(keys) => keys,
        Err(failure) => {
            findings.push(wrong("service key", failure.to_string()));
            return;
        }
    };
    let options = runner_options(settings, &own_url(settings.listen), keys, false);
    match mana_runner::Runner::new(options.clone(), world.clock.clone(), &world.random) {
        Ok(runner) => {
            let health = runner.health();
            findings.push(match health.reason {
                Some(reason) if !settings.paused => wrong("runner", reason),
                Some(reason) => fine("runner", reason),
                None => fine("runner", format!("engine {}", health.engine)),
            });
        }
        Err(error) => findings.push(wrong("runner", error.to_string())),
    }
    let offenders = mana_runner::production_offenders(&options);
    if settings.production && !offenders.is_empty() {
        findings.push(wrong("production", offenders.join("; ")));
    }
}

/// A server that runs here, or a port that one could take.
async fn server(settings: &Settings) -> Finding {
    let address = format!("{}/health", own_url(settings.listen));
    match reqwest::Client::new().get(&address).timeout(std::time::Duration::from_secs(3)).send().await {
        Ok(answer) => match answer.json::<Value>().await {
            Ok(health) if health["service"] == "mana" => fine("server", format!("runs on {}", settings.listen)),
            _ => wrong(
                "server",
                format!("something else answers on {}; choose another with `--listen`", settings.listen),
            ),
        },
        Err(_) => match tokio::net::TcpListener::bind(settings.listen).await {
            Ok(_) => fine("server", format!("does not run; {} is free", settings.listen)),
            Err(error) => wrong("server", format!("{} cannot be listened on: {error}", settings.listen)),
        },
    }
}

fn report(findings: &[Finding], as_json: bool) -> Result {
    let problems = findings.iter().filter(|finding| !finding.ok).count();
    if as_json {
        let all: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "ok": finding.ok, "says": finding.says }))
            .collect();
        print::json(&json!({ "ok": problems == 0, "findings": all }))?;
    } else {
        let rows = findings.iter().map(|finding| {
            vec![if finding.ok { "ok" } else { "PROBLEM" }.to_owned(), finding.what.to_owned(), finding.says.clone()]
        });
        print::out(&print::table(&["", "what", "says"], rows.collect()))?;
    }
    match problems {
        0 => Ok(()),
        1 => Err(Failure::Problems("one problem found".into())),
        many => Err(Failure::Problems(format!("{many} problems found"))),
    }
}
