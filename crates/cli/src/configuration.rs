//! Where the configuration comes from: the file, the environment, and files that it names.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use oyez_hub::policy::fetch::{Fetch, FetchError, FetchRequest, FetchResponse};
use oyez_server::assemble;
use oyez_server::config::{self, AppConfig, Config, Inputs, Problem, Problems};

use crate::failure::Failure;

/// What is looked for where no file is named.
pub(crate) const DEFAULT_FILE: &str = "oyez.toml";

/// An environment variable.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An environment variable that is set and not empty.
pub(crate) fn set(name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// The text of a configuration file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", path.display()))
            .help("name the file, or write one: the README has a first one, `oyez config-reference` every key")
    })
}

/// Reads and checks a configuration file with the environment of this process.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    check(path, &read(path)?, &env).map_err(|problems| Failure::new(problems.to_string()))
}

/// Reads a configuration file for its rules; the secrets that it names are not needed.
pub(crate) fn rules(path: &Path) -> Result<Config, Failure> {
    let name = path.display().to_string();
    config::load_rules(&name, &read(path)?).map_err(|problems| Failure::new(problems.to_string()))
}

/// Checks the text of a configuration: each part, and then that the parts go together. `path` is where it is from;
/// relative names in it start there.
pub(crate) fn check(path: &Path, source: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    check_for(path, source, env, false)
}

/// The same for `oyez dev` and for who makes its tokens: what is too weak for the world is good for this machine.
pub(crate) fn check_for_dev(
    path: &Path,
    source: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    check_for(path, source, env, true)
}

fn check_for(path: &Path, source: &str, env: &dyn Fn(&str) -> Option<String>, dev: bool) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let file = |name: &str| {
        let path = path.parent().unwrap_or(Path::new("")).join(name);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let config = config::load(&name, source, Inputs { env, file: &file, dev })?;
    let nobody: Arc<dyn Fetch> = Arc::new(Nobody);
    match assemble::apps(&config, Some(&nobody)) {
        Ok(_) => Ok(config),
        Err(error) => {
            let (line, message, help) = (error.line(), error.to_string(), Some(error.help()));
            Err(Problems(vec![Problem { file: name, line, column: 1, message, help }]))
        }
    }
}

/// Stands for whom a configuration asks, while it is only read.
struct Nobody;

#[async_trait]
impl Fetch for Nobody {
    async fn fetch(&self, _: FetchRequest) -> Result<FetchResponse, FetchError> {
        Err(FetchError::Failed("nobody is asked".to_owned()))
    }
}

/// The app of this name; without a name the only one.
pub(crate) fn app<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a AppConfig, Failure> {
    let names = || config.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => config.apps.iter().find(|app| app.name == name).ok_or_else(|| {
            Failure::new(format!("there is no app `{name}`")).help(format_args!("the file has {}", names()))
        }),
        None if config.apps.len() == 1 => Ok(&config.apps[0]),
        None => Err(Failure::new("the file has several apps").help(format_args!("add --app, one of {}", names()))),
    }
}
