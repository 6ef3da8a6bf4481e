//! `oyez explain`: which rule allows or denies something, and why.

use std::fmt;
use std::sync::Arc;

use oyez_hub::policy::Identity;
use oyez_hub::policy::expression::Part;
use oyez_hub::policy::grants::{Action, Verdict};
use oyez_hub::policy::identity::IdentityError;

use super::AppConfig;

/// An answer with its reasons; `Display` is what the command prints.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Whom the claims stand for.
    pub identity: Identity,
    /// What was asked.
    pub action: String,
    /// About which channel.
    pub channel: String,
    /// What the policy says.
    pub verdict: Verdict,
    /// The leaves of the rule's expression with what each gave.
    pub parts: Vec<Part>,
    file: String,
}

/// Explains what verified claims would be allowed. `file` is how the configuration is called in the answer.
///
/// # Errors
/// The claims name no user.
pub fn explain(
    file: &str,
    app: &AppConfig,
    claims: &serde_json::Map<String, serde_json::Value>,
    action: Action<'_>,
    channel: &str,
) -> Result<Explanation, IdentityError> {
    let identity = app.identity.identify(claims, Arc::from("explain"), None, None)?;
    let verdict = app.policy.decide(action, &identity, channel);
    let parts = app.policy.parts(action, &identity, channel);
    Ok(Explanation {
        identity,
        action: action.word().to_owned(),
        channel: channel.to_owned(),
        verdict,
        parts,
        file: file.to_owned(),
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, rule) = match &self.verdict {
            Verdict::Allow(rule) => ("ALLOWED", Some(rule)),
            Verdict::Deny { rule, .. } => ("DENIED", rule.as_ref()),
            Verdict::Ask(question) => ("ASKED of the app's backend", Some(&question.rule)),
        };
        writeln!(f, "{word}: {} {}", self.action, self.channel)?;
        let rights = &self.identity.rights;
        write!(f, "  user {:?}, roles {:?}", self.identity.user, rights.roles)?;
        for (name, values) in &rights.attributes {
            write!(f, ", {name} {values:?}")?;
        }
        writeln!(f, "{}", if rights.admin { ", administrator" } else { "" })?;
        match rule {
            None => {
                if let Verdict::Deny { reason, .. } = &self.verdict {
                    writeln!(f, "  {reason}")?;
                }
            }
            Some(rule) if rule.line == 0 => {
                writeln!(f, "  {} channel {:?} does not write `{}`, so nobody may", self.file, rule.channel, rule.key)?
            }
            Some(rule) => {
                writeln!(f, "  {}:{} channel {:?}: {} = {}", self.file, rule.line, rule.channel, rule.key, rule.source)?
            }
        }
        let written = rule.is_some_and(|rule| rule.line > 0);
        for part in self.parts.iter().filter(|_| written) {
            let value = match &part.value {
                Ok(value) => value.to_string(),
                Err(fault) => format!("cannot be evaluated: {fault}"),
            };
            writeln!(f, "    {} is {value}", part.text)?;
            for (name, value) in &part.inputs {
                writeln!(f, "      {name} = {value}")?;
            }
        }
        Ok(())
    }
}
