//! Checks OpenTelemetry's environment variables for values that its SDK ignores or misreads without a message. The SDK
//! reads everything else by itself.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

/// Any of them turns traces on.
/// <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
const COLLECTORS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The first that is set applies.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// The variables that the exporter ignores: the one for traces, the one for all signals, and what to do instead.
const IGNORED: [(&str, &str, &str); 3] = [
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE", TRUSTED),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", NO_CLIENT),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY", NO_CLIENT),
];
const TRUSTED: &str = "the system's certificates are trusted; for others, name a file with SSL_CERT_FILE";
const NO_CLIENT: &str =
    "client certificates are not supported: send traces to a local collector that has one, and unset this";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// A variable with a value that is not supported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value} is not supported: {instead}")]
pub struct Unsupported {
    variable: &'static str,
    value: String,
    instead: String,
}

/// Which spans are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Those whose remote parent is sampled.
    Parent,
    /// By `OTEL_TRACES_SAMPLER`, which the SDK reads.
    Environment,
}

/// Returns how to sample, and `None` where no traces are wanted. `variable` returns a variable that is set and not empty.
pub(super) fn sampling(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Sampling>, Unsupported> {
    let is_disabled = variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let exporter = variable(EXPORTER);
    if is_disabled || exporter.as_deref() == Some("none") || !COLLECTORS.iter().any(|name| variable(name).is_some()) {
        return Ok(None);
    }
    only(EXPORTER, exporter, &["otlp"], "set it to otlp, or to none to turn traces off")?;
    if let Some((name, protocol)) = PROTOCOLS.iter().find_map(|name| Some((*name, variable(name)?))) {
        let instead = "traces are only sent by grpc: set it to grpc, and the endpoint to the collector's gRPC port, \
                       usually 4317; or turn traces off with OTEL_TRACES_EXPORTER=none";
        only(name, Some(protocol), &["grpc"], instead)?;
    }
    for (of_traces, of_all, instead) in IGNORED {
        for name in [of_traces, of_all] {
            only(name, variable(name), &[], instead)?;
        }
    }
    let Some(sampler) = variable(SAMPLER) else { return Ok(Some(Sampling::Parent)) };
    let has_ratio = sampler.ends_with("traceidratio");
    only(SAMPLER, Some(sampler), &SAMPLERS, &format!("choose one of {}", SAMPLERS.join(", ")))?;
    if has_ratio
        && let Some(value) = variable(SAMPLER_ARGUMENT)
        && !value.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio))
    {
        let instead = "the sampled share is a number from 0 to 1".to_owned();
        return Err(Unsupported { variable: SAMPLER_ARGUMENT, value, instead });
    }
    Ok(Some(Sampling::Environment))
}

fn only(variable: &'static str, value: Option<String>, known: &[&str], instead: &str) -> Result<(), Unsupported> {
    match value {
        Some(value) if !known.contains(&value.as_str()) => {
            Err(Unsupported { variable, value, instead: instead.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");

    fn sampled(variables: &[(&str, &str)]) -> Result<Option<Sampling>, Unsupported> {
        sampling(|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    fn with_collector(variables: &[(&str, &str)]) -> Result<Option<Sampling>, Unsupported> {
        sampled(&[&[COLLECTOR], variables].concat())
    }

    #[test]
    fn without_a_collector_no_other_variable_is_checked() {
        assert_eq!(sampled(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), ("OTEL_TRACES_SAMPLER", "?")]), Ok(None));
    }

    #[test]
    fn a_collector_without_a_sampler_gets_the_spans_with_a_sampled_parent() {
        assert_eq!(with_collector(&[]), Ok(Some(Sampling::Parent)));
        let of_traces = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4317")];
        assert_eq!(sampled(&of_traces), Ok(Some(Sampling::Parent)));
    }

    #[test]
    fn traces_can_be_turned_off_although_a_collector_is_named() {
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(with_collector(&[off, ("OTEL_TRACES_SAMPLER", "always_on")]), Ok(None), "{off:?}");
        }
        let on = [("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")];
        assert_eq!(with_collector(&on), Ok(Some(Sampling::Parent)));
    }

    #[test]
    fn refuses_protocols_but_grpc_and_prefers_the_variable_for_traces() {
        let (of_all, of_traces) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
        assert!(with_collector(&[(of_all, "http/protobuf"), (of_traces, "grpc")]).is_ok());
        let refused = with_collector(&[(of_all, "grpc"), (of_traces, "http/json")]).unwrap_err().to_string();
        assert!(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json", "4317"].iter().all(|text| refused.contains(text)));
    }

    #[test]
    fn rejects_what_the_exporter_ignores_and_names_the_fix() {
        for (of_traces, of_all, instead) in IGNORED {
            for name in [of_traces, of_all] {
                let refused = with_collector(&[(name, "x")]).unwrap_err().to_string();
                assert!(refused.starts_with(&format!("{name}=x ")) && refused.ends_with(instead), "{refused}");
            }
        }
    }

    #[test]
    fn accepts_every_sampler_of_the_sdk_and_no_other() {
        for sampler in SAMPLERS {
            assert_eq!(with_collector(&[("OTEL_TRACES_SAMPLER", sampler)]), Ok(Some(Sampling::Environment)));
        }
        for sampler in ["xray", "jaeger_remote", "ALWAYS_ON", "traceidratio=0.1", "no_traceidratio"] {
            assert!(with_collector(&[("OTEL_TRACES_SAMPLER", sampler)]).is_err(), "{sampler}");
        }
    }

    #[test]
    fn the_sampled_share_is_a_number_from_0_to_1() {
        let with_share = |share| {
            with_collector(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", share)]).is_ok()
        };
        assert_eq!(["0", "0.01", "1"].map(with_share), [true; 3]);
        assert_eq!(["1 %", "1.5", "-1", "NaN"].map(with_share), [false; 4]);
        let unused = [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_TRACES_SAMPLER_ARG", "?")];
        assert!(with_collector(&unused).is_ok());
    }
}
