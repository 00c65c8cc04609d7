//! Why a Pod was injected or not: one code for the Event, the warning, the metric's label and `outrigger explain`.

use std::fmt;

/// The row of the decision table that held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    NotAPodCreate,
    MirrorPod,
    SystemNamespace,
    WindowsPod,
    HostNetwork,
    InvalidInjectValue,
    PodDisabled,
    ForeignSidecar,
    AlreadyInjected,
    Reinjected,
    PodEnabled,
    NamespaceDisabled,
    NamespaceEnabled,
    DefaultPolicy,
}

impl Reason {
    pub const ALL: [Reason; 14] = [
        Reason::NotAPodCreate,
        Reason::MirrorPod,
        Reason::SystemNamespace,
        Reason::WindowsPod,
        Reason::HostNetwork,
        Reason::InvalidInjectValue,
        Reason::PodDisabled,
        Reason::ForeignSidecar,
        Reason::AlreadyInjected,
        Reason::Reinjected,
        Reason::PodEnabled,
        Reason::NamespaceDisabled,
        Reason::NamespaceEnabled,
        Reason::DefaultPolicy,
    ];

    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::NotAPodCreate => "NotAPodCreate",
            Reason::MirrorPod => "MirrorPod",
            Reason::SystemNamespace => "SystemNamespace",
            Reason::WindowsPod => "WindowsPod",
            Reason::HostNetwork => "HostNetwork",
            Reason::InvalidInjectValue => "InvalidInjectValue",
            Reason::PodDisabled => "PodDisabled",
            Reason::ForeignSidecar => "ForeignSidecar",
            Reason::AlreadyInjected => "AlreadyInjected",
            Reason::Reinjected => "Reinjected",
            Reason::PodEnabled => "PodEnabled",
            Reason::NamespaceDisabled => "NamespaceDisabled",
            Reason::NamespaceEnabled => "NamespaceEnabled",
            Reason::DefaultPolicy => "DefaultPolicy",
        }
    }

    /// The same as a sentence, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Reason::NotAPodCreate => "only the creation of Pods is looked at",
            Reason::MirrorPod => "the Pod mirrors a static Pod, which the kubelet runs from a file of its own",
            Reason::SystemNamespace => "the namespace is one that is never touched",
            Reason::WindowsPod => "the Pod runs on Windows",
            Reason::HostNetwork => "the Pod uses its node's network, where capture would take the node's own traffic",
            Reason::InvalidInjectValue => "outrigger.dev/inject has a value that is neither enabled nor disabled",
            Reason::PodDisabled => "the Pod says outrigger.dev/inject: disabled",
            Reason::ForeignSidecar => "another mesh's sidecar is in the Pod",
            Reason::AlreadyInjected => "the Pod already has what would be injected",
            Reason::Reinjected => "the Pod had been injected, differently from what is due now",
            Reason::PodEnabled => "the Pod's label says outrigger.dev/inject: enabled",
            Reason::NamespaceDisabled => "the namespace's label says outrigger.dev/inject: disabled",
            Reason::NamespaceEnabled => "the namespace's label says outrigger.dev/inject: enabled",
            Reason::DefaultPolicy => "neither the Pod nor its namespace says anything: defaultInjection of mesh.yaml",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
