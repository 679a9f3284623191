//! Flags that choose the Pub/Sub server and the Google Cloud project, and what follows from them.

use super::names;

/// The project where a local server is chosen and no project.
const LOCAL_PROJECT: &str = "test-project";

// One `next_line_help` per heading gives its flags the same layout at every width.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PubsubArgs {
    /// Google Cloud project, also read from GOOGLE_CLOUD_PROJECT; required unless every name is a full name. With a
    /// local Pub/Sub server the default is test-project
    #[arg(short, long, env = "MINI_SCAN_PROJECT", next_line_help = true)]
    project: Option<String>,

    #[arg(long, env = "GOOGLE_CLOUD_PROJECT", hide = true)]
    google_cloud_project: Option<String>,

    /// Local Pub/Sub server to use instead of Google's, e.g. localhost:8085
    #[arg(long, env = "PUBSUB_EMULATOR_HOST", value_name = "HOST:PORT")]
    pubsub_emulator_host: Option<String>,
}

impl PubsubArgs {
    /// Returns the `host:port` of the local server, if one is chosen.
    pub(super) fn emulator_host(&self) -> Option<String> {
        set(&self.pubsub_emulator_host).map(str::to_owned)
    }

    /// Returns the full name of a topic that `flag` gives as an id or as a full name.
    pub(super) fn topic(&self, given: &str, flag: &str) -> Result<String, clap::Error> {
        names::topic(self.project(), given, flag)
    }

    /// Returns the full name of a subscription that `flag` gives as an id or as a full name.
    pub(super) fn subscription(&self, given: &str, flag: &str) -> Result<String, clap::Error> {
        names::subscription(self.project(), given, flag)
    }

    fn project(&self) -> Option<&str> {
        let local = || set(&self.pubsub_emulator_host).map(|_| LOCAL_PROJECT);
        set(&self.project).or_else(|| set(&self.google_cloud_project)).or_else(local)
    }
}

/// A variable that is set to an empty string chooses nothing, as in Google's and Amazon's own tools.
pub(super) fn set(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(project: &str, google_cloud: &str, emulator_host: &str) -> Option<String> {
        let given = |value: &str| Some(value.to_owned());
        let args = PubsubArgs {
            project: given(project),
            google_cloud_project: given(google_cloud),
            pubsub_emulator_host: given(emulator_host),
        };
        args.project().map(str::to_owned)
    }

    #[test]
    fn the_flag_comes_before_googles_variable_and_a_local_server_has_a_default() {
        let local = "localhost:8085";
        assert_eq!(project("p", "q", local).as_deref(), Some("p"));
        assert_eq!(project("", "q", local).as_deref(), Some("q"));
        assert_eq!(project("", "", local).as_deref(), Some("test-project"));
        assert_eq!(project("", "", ""), None);
    }
}
