//! What the checks of a Consul say of services, and what has changed. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// How well something is; the worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Passing,
    Warning,
    Critical,
}

impl Status {
    fn of(word: &str) -> Self {
        match word {
            "passing" => Self::Passing,
            "warning" => Self::Warning,
            // Also `maintenance`, and what later versions say: it is not to be called.
            _ => Self::Critical,
        }
    }
}

/// One check, as `/v1/health/state/any` has it. Outputs of checks stay where they are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Check {
    #[serde(default)]
    node: String,
    status: String,
    #[serde(default, rename = "ServiceID")]
    service_id: String,
    #[serde(default)]
    service_name: String,
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Instance {
    id: String,
    node: String,
    status: Status,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    service: String,
    /// Passing: every instance is; critical: none is.
    status: Status,
    healthy_count: usize,
    unhealthy_count: usize,
    instances: Vec<Instance>,
}

/// A service whose status is another now; none: it is not there.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change<'a> {
    service_name: &'a str,
    old_status: Option<Status>,
    new_status: Option<Status>,
}

/// All services, by name.
pub(super) type Services = BTreeMap<String, Service>;

/// What the checks say of the services that are wanted. A check of a node counts for all that runs there.
pub(super) fn services(checks: &[Check], wanted: impl Fn(&str) -> bool) -> Services {
    let mut nodes: HashMap<&str, Status> = HashMap::new();
    for check in checks.iter().filter(|check| check.service_name.is_empty()) {
        let status = nodes.entry(&check.node).or_insert(Status::Passing);
        *status = (*status).max(Status::of(&check.status));
    }
    let mut found: BTreeMap<(&str, &str, &str), Status> = BTreeMap::new();
    for check in checks.iter().filter(|check| !check.service_name.is_empty() && wanted(&check.service_name)) {
        let place = (check.service_name.as_str(), check.node.as_str(), check.service_id.as_str());
        let status =
            found.entry(place).or_insert_with(|| nodes.get(check.node.as_str()).copied().unwrap_or(Status::Passing));
        *status = (*status).max(Status::of(&check.status));
    }
    let mut services: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
    for ((name, node, id), status) in found {
        services.entry(name.to_owned()).or_default().push(Instance {
            id: id.to_owned(),
            node: node.to_owned(),
            status,
        });
    }
    services.into_iter().map(|(name, instances)| (name.clone(), service(name, instances))).collect()
}

fn service(service: String, instances: Vec<Instance>) -> Service {
    let healthy_count = instances.iter().filter(|instance| instance.status == Status::Passing).count();
    let unhealthy_count = instances.len() - healthy_count;
    let all_critical = instances.iter().all(|instance| instance.status == Status::Critical);
    let status = match (unhealthy_count, all_critical) {
        (0, _) => Status::Passing,
        (_, true) => Status::Critical,
        (_, false) => Status::Warning,
    };
    Service { service, status, healthy_count, unhealthy_count, instances }
}

/// Services whose status is another than before, or that came or went.
pub(super) fn changes<'a>(old: &'a Services, new: &'a Services) -> Vec<Change<'a>> {
    let status = |services: &Services, name: &str| services.get(name).map(|service| service.status);
    let mut names: Vec<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name| Change { service_name: name, old_status: status(old, name), new_status: status(new, name) };
    names.into_iter().map(change).filter(|change| change.old_status != change.new_status).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// `[service, id, node, status]` of each check; without a service it is the node's.
    fn state(checks: &[[&str; 4]]) -> Services {
        let check = |[service, id, node, status]: &[&str; 4]| json!({"Node": node, "CheckID": "c", "Status": status, "ServiceID": id, "ServiceName": service, "Output": "secret", "ServiceTags": null});
        let checks: Vec<Value> = checks.iter().map(check).collect();
        let checks: Vec<Check> = serde_json::from_value(Value::Array(checks)).expect("checks");
        services(&checks, |name| name != "other")
    }

    #[track_caller]
    fn check(old: &[[&str; 4]], new: &[[&str; 4]], expect: &Value) {
        let (old, new) = (state(old), state(new));
        assert_eq!(serde_json::to_value(changes(&old, &new)).expect("JSON"), *expect);
    }

    #[test]
    fn a_service_is_as_its_instances_and_their_nodes_are() {
        let one = |status| [["web", "w1", "n1", status]];
        let change = |old: &str, new: &str| json!([{"serviceName": "web", "oldStatus": old, "newStatus": new}]);
        check(&one("passing"), &one("passing"), &json!([]));
        check(&one("passing"), &one("critical"), &change("passing", "critical"));
        check(&one("critical"), &one("maintenance"), &json!([]));
        check(&[], &one("warning"), &json!([{"serviceName": "web", "oldStatus": null, "newStatus": "warning"}]));
        check(&one("passing"), &[], &json!([{"serviceName": "web", "oldStatus": "passing", "newStatus": null}]));
        check(&[["other", "o", "n", "passing"]], &[], &json!([]));
        // The worst check of an instance counts; the service is well when all are, and bad when none is.
        let two =
            |first, second| [["web", "w1", "n1", "passing"], ["web", "w1", "n1", first], ["web", "w2", "n2", second]];
        check(&two("passing", "passing"), &two("critical", "passing"), &change("passing", "warning"));
        check(&two("critical", "passing"), &two("critical", "critical"), &change("warning", "critical"));
        // A node that is gone takes its services with it.
        let on_node = |status| [["web", "w1", "n1", "passing"], ["", "", "n1", status], ["", "", "n2", "critical"]];
        check(&on_node("passing"), &on_node("critical"), &change("passing", "critical"));
    }

    #[test]
    fn what_is_told_of_services_has_no_outputs() {
        let told = serde_json::to_value(
            state(&[["web", "w1", "n1", "passing"], ["web", "w2", "n1", "critical"]]).values().collect::<Vec<_>>(),
        );
        let instances =
            json!([{"id": "w1", "node": "n1", "status": "passing"}, {"id": "w2", "node": "n1", "status": "critical"}]);
        let expect = json!([{"service": "web", "status": "warning", "healthyCount": 1, "unhealthyCount": 1, "instances": instances}]);
        assert_eq!(told.expect("JSON"), expect);
    }
}
