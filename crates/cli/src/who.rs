//! The options that say which app and which user is meant, shared by the commands that need a token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use oyez_server::config::{AppConfig, Config, DEV};
use serde_json::Value;

use crate::configuration::{self, DEFAULT_FILE};
use crate::failure::Failure;
use crate::mint::{Subject, mint};
use crate::secrets::{self, Secrets};

/// Which app.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The configuration; without it ./oyez.toml, or else what `oyez dev` serves
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The app; needed where the file has several
    #[arg(short, long, value_name = "NAME")]
    pub(crate) app: Option<String>,
}

/// Which user of it.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// A role of the user; may be repeated
    #[arg(long = "role", value_name = "ROLE", requires = "user")]
    pub(crate) roles: Vec<String>,
    /// A further claim; VALUE is JSON, or else text; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim, requires = "user")]
    pub(crate) claims: Vec<(String, Value)>,
    /// How long the token is good: 90s, 30m, 1h, 7d
    #[arg(long = "expires", value_name = "TIME", value_parser = lifetime, default_value = "1h")]
    pub(crate) lifetime: Duration,
}

impl Which {
    /// Reads the configuration. Variables that are not set are looked for among the secrets that `oyez dev` keeps here.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let kept = Secrets::kept(Path::new(secrets::FILE))?;
        let file = self.config.clone().or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()));
        let problems = |problems: oyez_server::config::Problems| Failure::new(problems.to_string());
        match (file, kept) {
            (Some(file), kept) => {
                let env = |name: &str| configuration::set(name).or_else(|| kept.as_ref()?.env(name));
                configuration::check_for_dev(&file, &configuration::read(&file)?, &env).map_err(problems)
            }
            (None, Some(kept)) => {
                configuration::check_for_dev(Path::new("dev.toml"), DEV, &|name| kept.env(name)).map_err(problems)
            }
            (None, None) => {
                Err(Failure::new(format!("there is no {DEFAULT_FILE} here, and `oyez dev` never ran here"))
                    .help("name the file: --config FILE"))
            }
        }
    }

    /// The app that is meant.
    pub(crate) fn app<'a>(&self, config: &'a Config) -> Result<&'a AppConfig, Failure> {
        configuration::app(config, self.app.as_deref())
    }
}

impl Who {
    /// A token for this user of this app.
    pub(crate) fn token(&self, app: &AppConfig, user: &str) -> Result<String, Failure> {
        mint(app, &Subject { user, roles: &self.roles, claims: &self.claims }, self.lifetime)
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("the claim has no name".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

/// A time with its unit.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    const YEAR: u64 = 366 * 86_400;
    let wrong = "write a number and s, m, h or d, such as 1h, of at most a year";
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong.to_owned()),
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    total.filter(|total| (1..=YEAR).contains(total)).map(Duration::from_secs).ok_or_else(|| wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_json_or_text() {
        assert_eq!(claim("siteId=3"), Ok(("siteId".to_owned(), json!(3))));
        assert_eq!(claim("name=Li Lei"), Ok(("name".to_owned(), json!("Li Lei"))));
        assert_eq!(claim("note=a=b"), Ok(("note".to_owned(), json!("a=b"))));
        assert!(claim("siteId").is_err() && claim("=3").is_err());
    }

    #[test]
    fn lifetimes_have_units_and_bounds() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "h", "1", "1w", "0s", "-1h", "1时", "999999999999999999d", "400d"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
