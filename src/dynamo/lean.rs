//! What the SDK does at each call and DynamoDB does not need: turned off, or done once. Knows no table.

use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{disable_interceptor, dyn_dispatch_hint};

const USER_AGENT: &str = concat!("mini-scan/", env!("CARGO_PKG_VERSION"));

/// The SDK describes itself twice in each request, at length, and numbers attempts that are always the first here,
/// because retries are ours.
#[derive(Debug)]
pub(super) struct Lean;

#[dyn_dispatch_hint]
impl Intercept for Lean {
    fn name(&self) -> &'static str {
        "Lean"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let state = settings.interceptor_state();
        state.store_put(disable_interceptor::<UserAgentInterceptor>("a constant serves"));
        state.store_put(disable_interceptor::<InvocationIdInterceptor>("the SDK retries nothing"));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>("the SDK retries nothing"));
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert("user-agent", USER_AGENT);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::super::connect;

    #[tokio::test]
    async fn a_request_describes_the_sdk_nowhere() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = connect(Some(&format!("http://{}", listener.local_addr().unwrap()))).await.unwrap();
        let read = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            String::from_utf8(head).unwrap()
        };

        let head = tokio::select! {
            head = read => head,
            answer = client.describe_table().table_name("scans").send() => panic!("nobody answered, yet: {answer:?}"),
        };

        assert!(head.contains("\r\nuser-agent: mini-scan/"), "{head}");
        assert!(!head.contains("x-amz-user-agent") && !head.contains("amz-sdk-"), "{head}");
    }
}
