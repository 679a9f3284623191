//! The JSON of requests and responses, in the words of the OpenAPI document. Pure.

use std::collections::BTreeMap;

use http_api::ProblemBody;
use serde::Serialize;
use utoipa::ToSchema;

use crate::operation::Association;
use crate::ports::Page;
use crate::widget::{Port, Widget};

/// A kind of port. A port connects only to the same port of another widget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(super) enum PortType {
    P,
    Q,
    R,
}

impl From<Port> for PortType {
    fn from(port: Port) -> PortType {
        match port {
            Port::P => PortType::P,
            Port::Q => PortType::Q,
            Port::R => PortType::R,
        }
    }
}

/// A widget with its connections.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(title = "Widget")]
pub(super) struct WidgetBody {
    #[schema(example = "123")]
    serial_number: String,
    #[schema(example = "widget1")]
    name: String,
    /// In the order P, Q, R.
    ports: Vec<PortType>,
    /// The serial number of the widget at the other end of each connected port.
    #[schema(example = json!({"P": "321"}))]
    connections: BTreeMap<PortType, String>,
    /// 1 after the creation, and one more after each change, also of a connection.
    version: u64,
    #[schema(example = "2026-11-22T10:00:00.123Z")]
    created_at: String,
    #[schema(example = "2026-11-22T10:00:00.123Z")]
    updated_at: String,
}

impl WidgetBody {
    pub(super) fn of(widget: &Widget) -> WidgetBody {
        let peers = widget.peers.iter().map(|(port, peer)| (port.into(), peer.as_str().to_owned()));
        WidgetBody {
            serial_number: widget.serial.as_str().to_owned(),
            name: widget.name.as_str().to_owned(),
            ports: widget.ports.iter().map(PortType::from).collect(),
            connections: peers.collect(),
            version: widget.revision.version,
            created_at: widget.created_at.as_str().to_owned(),
            updated_at: widget.updated_at.as_str().to_owned(),
        }
    }
}

/// A page of widgets.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct WidgetPage {
    widgets: Vec<WidgetBody>,
    /// The `page_token` of the next page. Missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_page_token: Option<String>,
}

impl WidgetPage {
    pub(super) fn of(page: &Page, next_page_token: Option<String>) -> WidgetPage {
        WidgetPage { widgets: page.widgets.iter().map(WidgetBody::of).collect(), next_page_token }
    }
}

/// A connection between the same port of two widgets.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(title = "Association")]
pub(super) struct AssociationBody {
    port_type: PortType,
    #[schema(example = "123")]
    widget_serial_num: String,
    #[schema(example = "321")]
    peer_widget_serial_num: String,
}

impl AssociationBody {
    pub(super) fn of(association: Association) -> AssociationBody {
        let Association { port, serial, peer } = association;
        AssociationBody {
            port_type: port.into(),
            widget_serial_num: serial.into(),
            peer_widget_serial_num: peer.into(),
        }
    }
}

/// The problem `port-taken`.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it documents a problem with a member of its own")]
pub(super) struct PortTaken {
    #[schema(example = "/docs/problems#port-taken")]
    r#type: String,
    #[schema(example = "The port is connected to another widget")]
    title: String,
    #[schema(example = 409)]
    status: u16,
    #[schema(example = "the port P of the widget 123 is connected to 321")]
    detail: String,
    /// The serial number of the widget at the other end of the port.
    #[schema(example = "321")]
    connected_to: String,
}

/// What became of each operation, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchResults {
    pub(super) results: Vec<OperationResult>,
}

/// What became of an operation of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OperationResult {
    /// The status that a request with this operation alone would have.
    #[schema(example = 201)]
    pub(super) status: u16,
    /// After a create.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) widget: Option<WidgetBody>,
    /// After a connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) association: Option<AssociationBody>,
    /// If it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) problem: Option<ProblemBody>,
    /// Whether this is the answer to an earlier request with the same Idempotency-Key.
    pub(super) replayed: bool,
}

impl OperationResult {
    pub(super) fn of(status: u16, replayed: bool) -> OperationResult {
        OperationResult { status, widget: None, association: None, problem: None, replayed }
    }
}

/// A widget to create.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it documents a body that is parsed member by member")]
pub(super) struct NewWidget {
    /// 1 to 64 characters, without control characters.
    #[schema(example = "widget1", min_length = 1, max_length = 64)]
    name: String,
    /// 1 to 64 printable ASCII characters without `/` and `#`, and not `associations`, `associations:batch`, `.` or `..`.
    #[schema(example = "123", min_length = 1, max_length = 64)]
    serial_number: String,
    /// One to three different ones.
    #[schema(min_items = 1, max_items = 3)]
    ports: Vec<PortType>,
}

/// What to change of a widget. A missing member stays as it is.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it documents a body that is parsed member by member")]
pub(super) struct WidgetChange {
    /// 1 to 64 characters, without control characters.
    #[schema(required = false, example = "widget2", min_length = 1, max_length = 64)]
    name: String,
    /// The whole new set. A port that is connected cannot be removed.
    #[schema(required = false, min_items = 1, max_items = 3)]
    ports: Vec<PortType>,
}

/// An operation of a batch of widgets.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it documents a body that is parsed member by member")]
pub(super) struct WidgetOperation {
    /// `create`, which is the default, or `delete`.
    #[schema(required = false, example = "create")]
    operation: String,
    #[schema(example = "123")]
    serial_number: String,
    /// Only to create.
    #[schema(required = false, example = "widget1")]
    name: String,
    /// Only to create.
    #[schema(required = false)]
    ports: Vec<PortType>,
}

/// An operation of a batch of associations.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it documents a body that is parsed member by member")]
pub(super) struct AssociationOperation {
    /// `connect`, which is the default, or `disconnect`.
    #[schema(required = false, example = "connect")]
    operation: String,
    port_type: PortType,
    #[schema(example = "123")]
    widget_serial_num: String,
    /// Only to connect.
    #[schema(required = false, example = "321")]
    peer_widget_serial_num: String,
    /// Only to connect: disconnects both widgets from the peers that they have at this port.
    #[schema(required = false)]
    replace: bool,
}
