//! Which words do the commands about certificates take? `renew`, `revoke`, `pause`, `resume`, `explain`, `rehearse`,
//! `account`: arguments here, work in [`super::renew`] and [`super::explain`].

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::acme::Reason as Why;
use crate::cert::rehearse::Scenario;
use crate::node::admin::Question;
use crate::node::snippet::Program;

use super::commands::Place;
use super::explain::{self, Form};
use super::renew::{self, Manner};

/// `semper renew`.
#[derive(Debug, Args)]
pub struct Renew {
    /// Domain names.
    #[arg(required_unless_present_any = ["all_due", "dry_run"])]
    names: Vec<String>,
    /// Every certificate that is due, in trouble or expired.
    #[arg(long, conflicts_with = "names")]
    all_due: bool,
    /// A whole order at the authority's test side; nothing is installed. Without names: for every certificate.
    #[arg(long)]
    dry_run: bool,
    /// Return as soon as it has begun.
    #[arg(long)]
    no_wait: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Renew {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let state = self.place.state_path();
        if self.dry_run {
            return renew::lines(&state, &Question::DryRun(self.names.clone()), self.json);
        }
        renew::renew(&state, &self.names, Manner { json: self.json, no_wait: self.no_wait })
    }
}

/// `semper revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// A domain name.
    name: String,
    /// Why.
    #[arg(long, value_enum, default_value = "unspecified")]
    reason: Reason,
    /// Return as soon as it has begun.
    #[arg(long)]
    no_wait: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "camelCase")]
enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

impl Revoke {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let reason = match self.reason {
            Reason::Unspecified => Why::Unspecified,
            Reason::KeyCompromise => Why::KeyCompromise,
            Reason::AffiliationChanged => Why::AffiliationChanged,
            Reason::Superseded => Why::Superseded,
            Reason::CessationOfOperation => Why::CessationOfOperation,
        };
        let manner = Manner { json: self.json, no_wait: self.no_wait };
        renew::revoke(&self.place.state_path(), &self.name, reason, manner)
    }
}

/// `semper pause` and `semper resume`.
#[derive(Debug, Args)]
pub struct Pause {
    /// A domain name.
    name: String,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Pause {
    /// Does it.
    pub fn run(&self, pause: bool) -> ExitCode {
        renew::pause(&self.place.state_path(), &self.name, pause, self.json)
    }
}

/// `semper explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A domain name.
    name: String,
    /// For programs.
    #[arg(long, conflicts_with = "snippet")]
    json: bool,
    /// Only the lines with which a node that runs this program answers challenges too.
    #[arg(long, value_enum)]
    snippet: Option<Snippet>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Snippet {
    Nginx,
    Haproxy,
    Caddy,
}

impl Explain {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let form = match (self.json, self.snippet) {
            (true, _) => Form::Json,
            (false, Some(Snippet::Nginx)) => Form::Snippet(Program::Nginx),
            (false, Some(Snippet::Haproxy)) => Form::Snippet(Program::Haproxy),
            (false, Some(Snippet::Caddy)) => Form::Snippet(Program::Caddy),
            (false, None) => Form::Text,
        };
        explain::explain(&self.name, self.place.layout(), &self.place.state_path(), form)
    }
}

/// `semper rehearse`.
#[derive(Debug, Args)]
pub struct Rehearse {
    /// A domain name.
    name: String,
    /// What is held expires after this time (5d, 36h, 90m).
    #[arg(long, value_name = "TIME", value_parser = explain::duration, group = "scenario")]
    expire_in: Option<Duration>,
    /// No authority answers any more.
    #[arg(long, group = "scenario")]
    ca_down: bool,
    /// The authority forgets the next order.
    #[arg(long, group = "scenario")]
    forget_order: bool,
    /// The clock jumps (1d, -1h).
    #[arg(long, value_name = "TIME", value_parser = explain::jump, allow_hyphen_values = true, group = "scenario")]
    skew: Option<i64>,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Rehearse {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let scenario = match (self.expire_in, self.skew) {
            (Some(time), _) => Scenario::ExpireIn(time.as_secs()),
            (None, Some(jump)) => Scenario::Skew(jump),
            _ if self.ca_down => Scenario::CaDown,
            _ if self.forget_order => Scenario::ForgetOrder,
            _ => Scenario::Calm,
        };
        explain::rehearse(&self.name, &self.place.state_path(), scenario, self.json)
    }
}

/// `semper account …`.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Gives our account at an authority another key; issuers that share a key change it together.
    Rollover {
        /// The name of an acme_issuer. Default: all of them.
        issuer: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Which semper.
        #[command(flatten)]
        place: Place,
    },
}

impl Account {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let Account::Rollover { issuer, json, place } = self;
        renew::lines(&place.state_path(), &Question::Rollover(issuer.clone()), *json)
    }
}
