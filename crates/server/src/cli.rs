//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::Flags;

/// A personal platform for people and AI agents, and a population of synthetic personas who live in it.
///
/// Without a command: `mana up`.
#[derive(Debug, Parser)]
#[command(name = "mana", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) up: Up,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder for everything that is kept [default: data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Database: sqlite:PATH or postgres://… [default: mana.db in the data folder]
    #[arg(long, global = true, value_name = "ADDRESS")]
    database: Option<String>,
    /// Address and port to listen on [default: 127.0.0.1:3001]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Settings file [default: mana.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, or a filter [default: warn]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Answer as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    pub(crate) fn flags(&self) -> Flags {
        let given = [
            ("data", "--data", &self.data),
            ("database", "--database", &self.database),
            ("listen", "--listen", &self.listen),
            ("log", "--log", &self.log),
        ];
        Flags {
            given: given
                .into_iter()
                .filter_map(|(key, flag, value)| value.clone().map(|value| (key, flag, value)))
                .collect(),
            config: self.config.clone(),
        }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on one address; seed and run the personas on the first start
    Up(Up),
    /// Serve chosen roles, for installations of several processes
    Serve(Serve),
    /// Run one pass over the personas that are due, and stop
    Tick(Tick),
    /// The population
    #[command(subcommand)]
    Personas(Personas),
    /// What personas did: the audit trail, newest first
    Actions(Actions),
    /// How personas rated the modules they used, newest first
    Ratings(Ratings),
    /// Visits: what was said and done in them
    #[command(subcommand)]
    Visits(Visits),
    /// What models have cost, against the limits
    Cost(Cost),
    /// Files: bring a folder in, look whether all is there, clear away, count
    #[command(subcommand)]
    Media(Media),
    /// Accounts
    #[command(subcommand)]
    User(User),
    /// Print an access token for an account (valid 15 minutes), to try MCP or REST by hand
    Token {
        /// E-mail of the account [default: the first administrator]
        email: Option<String>,
    },
    /// Check that everything is in order
    Doctor,
    /// Settings
    #[command(subcommand)]
    Config(Config),
    /// Print the OpenAPI document of all tools
    Openapi,
    /// Measure the hot paths on this machine
    Bench(Bench),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Options of `mana up`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Up {
    /// Do not run the personas that are due at once; wait for the first interval
    #[arg(long)]
    pub(crate) no_initial_tick: bool,
    /// Do not seed the catalog when there are no personas
    #[arg(long)]
    pub(crate) no_seed: bool,
}

/// Options of `mana serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// What this process serves
    #[arg(long, value_delimiter = ',', default_values_t = Role::ALL, value_name = "ROLE,…")]
    pub(crate) roles: Vec<Role>,
}

/// A part of Mana that a process can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Accounts, sign-in, spaces, personas
    Identity,
    /// MCP and REST over the modules
    Gateway,
    /// Files and images
    Media,
    /// The loop that lets personas visit
    Runner,
    /// Pages for people
    Console,
}

impl Role {
    pub(crate) const ALL: [Self; 5] = [Self::Identity, Self::Gateway, Self::Media, Self::Runner, Self::Console];
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Gateway => "gateway",
            Self::Media => "media",
            Self::Runner => "runner",
            Self::Console => "console",
        })
    }
}

/// The population.
#[derive(Debug, Subcommand)]
pub(crate) enum Personas {
    /// List all personas
    List,
    /// Create or update the personas of the catalog
    Seed {
        /// Catalog file [default: the ten people that come with Mana]
        #[arg(long, value_name = "FILE")]
        catalog: Option<PathBuf>,
        /// Check the catalog and say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Show one persona: its last visits, actions and ratings
    Show {
        /// First name, e-mail or id
        who: String,
    },
    /// Keep personas from visiting until they are resumed
    Pause {
        /// First names, e-mails or ids
        #[arg(required = true)]
        who: Vec<String>,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let paused or quarantined personas visit again
    Resume {
        /// First names, e-mails or ids
        #[arg(required = true)]
        who: Vec<String>,
    },
    /// Make personas due now; they visit in the next pass
    Run {
        /// First names, e-mails or ids
        #[arg(required = true)]
        who: Vec<String>,
    },
    /// Delete personas with everything they own
    Remove {
        /// First names, e-mails or ids; without any, those that are not in the catalog
        who: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which actions to show.
#[derive(Debug, Args)]
pub(crate) struct Actions {
    /// Only of this persona: first name, e-mail or id
    #[arg(long)]
    pub(crate) persona: Option<String>,
    /// Only of this visit
    #[arg(long)]
    pub(crate) tick: Option<String>,
    /// Only of this tool
    #[arg(long)]
    pub(crate) tool: Option<String>,
    /// Only errors
    #[arg(long)]
    pub(crate) errors: bool,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
}

/// How a pass is run.
#[derive(Debug, Default, Args)]
pub(crate) struct Tick {
    /// What decides a persona's next step: auto, anthropic, rehearsal, replay or chaos
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// Record every visit of a model in this folder
    #[arg(long, value_name = "DIR")]
    record: Option<String>,
    /// Replay the visits recorded in this folder; asks no model
    #[arg(long, value_name = "DIR", conflicts_with_all = ["record", "engine"])]
    replay: Option<String>,
    /// Give recorded replies in order, also where a request is not the recorded one
    #[arg(long, requires = "replay")]
    loose: bool,
}

impl Tick {
    /// What these flags say of settings.
    pub(crate) fn given(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut given = Vec::new();
        given.extend(self.engine.clone().map(|engine| ("engine", "--engine", engine)));
        given.extend(self.record.clone().map(|dir| ("record", "--record", dir)));
        if let Some(dir) = self.replay.clone() {
            given.push(("engine", "--replay", "replay".into()));
            given.push(("replay", "--replay", dir));
        }
        if self.loose {
            given.push(("replay_mode", "--loose", "loose".into()));
        }
        given
    }
}

/// Visits.
#[derive(Debug, Subcommand)]
pub(crate) enum Visits {
    /// List visits, newest first
    List(VisitsList),
    /// Show one visit: every word, every call with its arguments and answer, and the ratings with what they rest on
    Show(ShowVisit),
}

/// Which visits to list.
#[derive(Debug, Args)]
pub(crate) struct VisitsList {
    /// Only of this persona: first name, e-mail or id
    #[arg(long)]
    pub(crate) persona: Option<String>,
    /// Only with this outcome, such as completed or budget
    #[arg(long)]
    pub(crate) outcome: Option<String>,
    /// Only of this engine, such as anthropic
    #[arg(long)]
    pub(crate) engine: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
}

/// Which visit to show.
#[derive(Debug, Args)]
pub(crate) struct ShowVisit {
    /// Id of the visit, from `mana visits list` [default: the latest]
    pub(crate) visit: Option<String>,
    /// Show arguments and answers in full
    #[arg(long)]
    pub(crate) full: bool,
}

/// What to add up.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// A line for each
    #[arg(long, value_enum, default_value_t = CostBy::Day)]
    pub(crate) by: CostBy,
    /// First day, YYYY-MM-DD (UTC) [default: the first of this month]
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,
    /// Last day, YYYY-MM-DD (UTC) [default: today]
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Option<String>,
}

/// By what cost is added up.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CostBy {
    /// Days
    Day,
    /// Personas
    Persona,
    /// Models
    Model,
}

impl CostBy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Persona => "persona",
            Self::Model => "model",
        }
    }
}

/// Files.
#[derive(Debug, Subcommand)]
pub(crate) enum Media {
    /// Bring files in: folders with everything below them, or single files
    Import {
        /// Folders or files
        #[arg(required = true, value_name = "DIR|FILE")]
        paths: Vec<PathBuf>,
        /// Whose they are: e-mail of the account [default: the first administrator]
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
        /// The app that they belong to
        #[arg(long, default_value = "photos")]
        app: String,
        /// Also files that are no images
        #[arg(long)]
        all: bool,
    },
    /// Check that every file has its bytes and every byte its file
    Fsck {
        /// Read every file and check its hash
        #[arg(long)]
        deep: bool,
        /// Mend what can be mended without loss
        #[arg(long)]
        repair: bool,
    },
    /// Remove what nobody refers to any more, after its time of grace
    Gc,
    /// Count files and bytes
    Stats,
}

/// Which ratings to show.
#[derive(Debug, Args)]
pub(crate) struct Ratings {
    /// Only of this persona: first name, e-mail or id
    #[arg(long)]
    pub(crate) persona: Option<String>,
    /// Only of this module
    #[arg(long)]
    pub(crate) module: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add an account; its password is made and printed once, or read with `--password-stdin`
    Add {
        /// E-mail
        email: String,
        /// Name
        #[arg(long)]
        name: Option<String>,
        /// Make it an administrator
        #[arg(long)]
        admin: bool,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
}

/// Settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show every setting, its value and where it comes from
    Show,
    /// Check the settings and say nothing if they are valid
    Check,
    /// Print a complete, commented settings file
    Example,
}

/// Options of `mana bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Seconds for each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) seconds: u64,
    /// Connections at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) connections: u32,
    /// Personas in the measured pass
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) personas: u32,
}
