//! Turns off the request headers that the SDK computes on each call and DynamoDB does not need. Knows no table.

use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{disable_interceptor, dyn_dispatch_hint};

/// Replaces the SDK's two long user agents by a constant, and omits the ids and numbers of attempts. An attempt is
/// always the first for the SDK, because its callers retry.
#[derive(Debug)]
pub struct NoSdkHeaders {
    pub user_agent: &'static str,
}

#[dyn_dispatch_hint]
impl Intercept for NoSdkHeaders {
    fn name(&self) -> &'static str {
        "NoSdkHeaders"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let state = settings.interceptor_state();
        state.store_put(disable_interceptor::<UserAgentInterceptor>("a constant is sent instead"));
        state.store_put(disable_interceptor::<InvocationIdInterceptor>("the SDK does not retry"));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>("the SDK does not retry"));
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert("user-agent", self.user_agent);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use crate::connect;

    #[tokio::test]
    async fn a_request_does_not_describe_the_sdk() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = connect(Some(&format!("http://{}", listener.local_addr().unwrap())), "mini-scan/1").await.unwrap();
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
            result = client.describe_table().table_name("scans").send() => panic!("no server responded: {result:?}"),
        };

        assert!(head.contains("\r\nuser-agent: mini-scan/1"), "{head}");
        assert!(!head.contains("x-amz-user-agent") && !head.contains("amz-sdk-"), "{head}");
    }
}
