//! `oyez reference`: the pages of the documentation that come from the code; `cargo xtask docs` keeps them in `docs/`.

use std::fmt::Write as _;

use clap::{Args, CommandFactory as _, ValueEnum};
use oyez_server::{api, config, observe, reference};

use crate::failure::Failure;
use crate::{Program, say};

/// Print a page of the reference, as Markdown.
#[derive(Debug, Args)]
#[command(hide = true, after_help = "Example:\n  oyez reference metrics | less")]
pub(crate) struct Options {
    /// Which page
    page: Page,
}

/// The pages.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    /// Every key of the configuration
    Configuration,
    /// Every error and close code
    Codes,
    /// Every metric
    Metrics,
    /// Every command
    Cli,
    /// Every operation of the HTTP API
    Http,
}

/// Prints it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    say::text(match options.page {
        Page::Configuration => config::reference(),
        Page::Codes => reference::codes(),
        Page::Metrics => observe::metrics::reference(),
        Page::Cli => commands(),
        Page::Http => api::reference(),
    });
    Ok(())
}

/// Columns of the help texts.
const WIDTH: usize = 100;

const HEAD: &str = "# The command line

Generated from the code: `cargo xtask docs`. The same as `oyez COMMAND --help` prints.
";

/// The help of the program and of each command.
fn commands() -> String {
    let mut program = Program::command();
    program.build();
    let mut out = HEAD.to_owned();
    section(&mut out, "oyez", &program);
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in program.get_subcommands().filter(shown) {
        let title = format!("oyez {}", command.get_name());
        section(&mut out, &title, command);
        for part in command.get_subcommands().filter(shown) {
            section(&mut out, &format!("{title} {}", part.get_name()), part);
        }
    }
    out
}

fn section(out: &mut String, title: &str, command: &clap::Command) {
    // The page does not depend on the terminal that it is made in.
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    let _ = write!(out, "\n## `{title}`\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
}
