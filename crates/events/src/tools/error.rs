//! Why a command failed: what failed, why, and what to do.

use ops::console::ToolError;

use crate::names::Endpoints;
use crate::observe::PROGRAM;
use crate::queues;

/// A queue and its flag, as errors name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedQueue<'a> {
    pub(super) name: &'a str,
    pub(super) flag: &'static str,
}

const NO_REGION: &str = "no AWS region is set";
const SET_REGION: &str = "Set one, e.g. export AWS_REGION=us-east-1";
const LOG_IN: &str = "Run `aws sso login` or `aws configure`, or choose a profile with AWS_PROFILE.";

impl NamedQueue<'_> {
    pub(super) fn error(self, endpoints: &Endpoints, problem: &queues::Problem) -> ToolError {
        let NamedQueue { name, flag } = self;
        let at = endpoints.sqs.as_ref().map(|url| format!(" at {url} (--sqs-endpoint)")).unwrap_or_default();
        let thing = format!("queue {name} ({flag})");
        ToolError(match problem {
            queues::Problem::NotFound => {
                format!("{thing} does not exist{at}.\nCreate it: event-pipeline setup {flag} {name}")
            }
            queues::Problem::NoRegion => format!("{NO_REGION}, so {thing} cannot be found.\n{SET_REGION}"),
            problem @ queues::Problem::NoCredentials(_) => format!("{thing} cannot be used: {problem}\n{LOG_IN}"),
            problem @ queues::Problem::Refused(_) => {
                format!("{thing} cannot be used: {problem}\nGrant this identity the action on the queue.")
            }
            problem @ queues::Problem::Unreachable(_) if endpoints.sqs.is_some() => {
                format!("{thing} cannot be used{at}: {problem}\nStart a server there, or choose another one.")
            }
            problem => {
                format!("{thing} cannot be used: {problem}\nCheck AWS_REGION and the network: event-pipeline check")
            }
        })
    }
}

/// A table and its flag, as errors name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedTable<'a> {
    pub(super) name: &'a str,
    pub(super) flag: &'static str,
}

impl NamedTable<'_> {
    pub(super) fn error(self, endpoints: &Endpoints, problem: &dynamodb::Problem) -> ToolError {
        let NamedTable { name, flag } = self;
        let table = dynamodb::NamedTable { program: PROGRAM.name, name, flag };
        ToolError(table.text(endpoints.dynamo.as_deref(), problem))
    }
}
