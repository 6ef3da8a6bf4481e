//! `oyez check`: every mistake of a configuration, without running it.

use std::path::PathBuf;

use clap::Args;
use oyez_server::config::{Config, Problem, Problems};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{configuration, say, sources};

/// Check a configuration.
///
/// Says every mistake with file, line, column and what to write instead, and notes what is allowed but may not be meant.
/// Nothing is started, and nobody is asked.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// The configuration
    #[arg(value_name = "FILE", default_value = crate::configuration::DEFAULT_FILE)]
    file: PathBuf,
    /// Answer with one JSON object: {"file", "good", "problems": [{"line", "column", "message", "help"}], "notes": the same}
    #[arg(long)]
    json: bool,
}

const AFTER: &str = "\
Examples:
  oyez check examples/ticketing/oyez.toml
  oyez check oyez.toml --json

The variables that the file names must be set, as for `oyez serve`.
Exit codes: 0 the file is good; 1 it is not, or cannot be read; 2 the command line is wrong.";

/// Checks and says so.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let file = options.file.display().to_string();
    let outcome = configuration::check(&options.file, &configuration::read(&options.file)?, &configuration::env);
    let outcome = outcome.and_then(|config| match sources::mistakes(&file, &config) {
        none if none.is_empty() => Ok(config),
        mistakes => Err(Problems(mistakes)),
    });
    if options.json {
        let problems = outcome.as_ref().err().map_or(&[][..], |problems| &problems.0);
        let problems: Vec<Value> = problems.iter().map(problem).collect();
        let notes: Vec<Value> = outcome.iter().flat_map(|config| &config.notes).map(problem).collect();
        say::line(json!({ "file": file, "good": problems.is_empty(), "problems": problems, "notes": notes }));
    }
    match outcome {
        Ok(_) if options.json => Ok(()),
        Ok(config) => {
            say::line(summary(&file, &config));
            Ok(())
        }
        Err(problems) if options.json => Err(Failure::new(count(problems.0.len()))),
        Err(problems) => Err(Failure::new(problems.to_string())),
    }
}

fn problem(problem: &Problem) -> Value {
    json!({ "line": problem.line, "column": problem.column, "message": problem.message, "help": problem.help })
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 mistake".to_owned() } else { format!("{problems} mistakes") }
}

/// What the file serves, an app to a line, and what is noted.
fn summary(file: &str, config: &Config) -> String {
    let apps = config.apps.iter().map(|app| {
        let socketio = app.socketio.as_ref().map(|socketio| format!("Socket.IO on {}", socketio.paths.join(", ")));
        let websocket = app.websocket.as_ref().map(|websocket| format!("WebSocket on {}", websocket.paths.join(", ")));
        let speaks = socketio.into_iter().chain(websocket).collect::<Vec<_>>().join("; ");
        let events = match app.dialect.events.len() {
            1 => "1 event".to_owned(),
            many => format!("{many} events"),
        };
        format!("\n  {}: {speaks}; {events}", app.name)
    });
    let notes = config.notes.iter().map(|note| format!("\nnote: {note}"));
    format!("{file} is good.{}", apps.chain(notes).collect::<String>())
}
