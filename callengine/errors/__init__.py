"""Everything callengine raises on purpose.

::

    CallengineError
    ├── ConfigurationError         the settings cannot be used; holds every problem at once
    ├── EslError                   the event socket
    │   ├── EslRefused             nothing accepts connections there, or the name does not resolve
    │   ├── EslAuthRejected        the password is wrong
    │   ├── EslAccessDenied        the switch's ACL refuses this host
    │   ├── EslDisconnected        the connection is gone, or was never there
    │   ├── MalformedStream        the bytes are no event stream
    │   ├── MalformedEvent         one event cannot be read; the stream goes on behind it
    │   └── CommandError
    │       ├── CommandTimedOut    no reply in bounded time; whether it took effect is unknown
    │       └── CommandRefused     the switch answered ``-ERR``
    ├── StoreError                 the database
    │   ├── StoreUnavailable       it does not answer, or is locked
    │   ├── SchemaTooNew           it was migrated by a newer callengine
    │   └── LeaseHeld              another engine holds this switch
    ├── AddressUnavailable         the port for HTTP is taken, or the address is not this machine's, now
    ├── RecordingError             the file of a recording
    │   ├── RecordingOutside       its path leads into none of ``recordings.directories``
    │   ├── RecordingMissing       there is no such file
    │   ├── RecordingNotRegular    what is there is no regular file: a symbolic link, a folder, a FIFO, a device
    │   ├── RecordingNotPermitted  our user may not read or delete it
    │   ├── RecordingUnreadable    the file system says something else
    │   └── RecordingChanged       its content is not the one any more that was found
    ├── BucketError                the S3-compatible store; ``transient`` says whether to try again
    ├── WebhookError               an endpoint cannot be called
    │   ├── UrlRefused             its URL, or an address behind its name, is not to be called
    │   ├── LookupsBusy            too many names are being looked up; nothing is known of the endpoint
    │   └── NameNotResolved        its name has no address
    └── RequestRefused             what a caller of ours asked for is not done; ``status`` is the HTTP status
        ├── NoSuchThing            404, alike for what is missing and what is another tenant's
        │   ├── NoSuchCall
        │   ├── NoSuchCampaign
        │   ├── NoSuchLead
        │   ├── NoSuchRecording
        │   ├── NoSuchEndpoint
        │   ├── NoSuchDelivery
        │   └── NoSuchTenant
        ├── RecordingGone              410: the recording was deleted
        ├── LinkInvalid                403: a recording's URL was not signed by us
        ├── LinkExpired                403: it was, but its time is over
        ├── MalformedInput         400: no value of that field could look like this
        ├── NotAllowed             400: well-formed, but not in the closed set that the configuration opens
        ├── CallOver               409: the call has ended
        ├── WrongState             409: the call is not (or not yet) in a state that allows it
        ├── AlreadyExists          409: the name is taken
        ├── IdempotencyInProgress  409: the first request with this key has not been answered yet
        ├── IdempotencyConflict    422: this key came before, with another body
        ├── TooManyEndpoints       409: the tenant has as many as it may have
        ├── TooManyTests           429: enough endpoints are being tried out at the moment
        ├── QueueFull              429: ``retry_after_s`` says when to come back
        ├── TooManyReaders         503: the event stream has as many readers as it may, or one tenant has
        └── SwitchUnavailable      503: there is no event socket to ask

No message here ever holds a secret: commands are named by their verb, connections by their address.
"""

from __future__ import annotations

from callengine.errors.base import (
    CallengineError,
    ConfigurationError,
)
from callengine.errors.parts import (
    AddressUnavailable,
    BucketError,
    CommandError,
    CommandRefused,
    CommandTimedOut,
    EslAccessDenied,
    EslAuthRejected,
    EslDisconnected,
    EslError,
    EslRefused,
    LeaseHeld,
    LookupsBusy,
    MalformedEvent,
    MalformedStream,
    NameNotResolved,
    RecordingChanged,
    RecordingError,
    RecordingMissing,
    RecordingNotPermitted,
    RecordingNotRegular,
    RecordingOutside,
    RecordingUnreadable,
    SchemaTooNew,
    StoreError,
    StoreUnavailable,
    UrlRefused,
    WebhookError,
)
from callengine.errors.requests import (
    AlreadyExists,
    CallOver,
    IdempotencyConflict,
    IdempotencyInProgress,
    LinkExpired,
    LinkInvalid,
    MalformedInput,
    NoSuchCall,
    NoSuchCampaign,
    NoSuchDelivery,
    NoSuchEndpoint,
    NoSuchLead,
    NoSuchRecording,
    NoSuchTenant,
    NoSuchThing,
    NotAllowed,
    QueueFull,
    RecordingGone,
    RequestRefused,
    SwitchUnavailable,
    TooManyEndpoints,
    TooManyReaders,
    TooManyTests,
    WrongState,
)

__all__ = [
    "AddressUnavailable",
    "AlreadyExists",
    "BucketError",
    "CallOver",
    "CallengineError",
    "CommandError",
    "CommandRefused",
    "CommandTimedOut",
    "ConfigurationError",
    "EslAccessDenied",
    "EslAuthRejected",
    "EslDisconnected",
    "EslError",
    "EslRefused",
    "IdempotencyConflict",
    "IdempotencyInProgress",
    "LeaseHeld",
    "LinkExpired",
    "LinkInvalid",
    "LookupsBusy",
    "MalformedEvent",
    "MalformedInput",
    "MalformedStream",
    "NameNotResolved",
    "NoSuchCall",
    "NoSuchCampaign",
    "NoSuchDelivery",
    "NoSuchEndpoint",
    "NoSuchLead",
    "NoSuchRecording",
    "NoSuchTenant",
    "NoSuchThing",
    "NotAllowed",
    "QueueFull",
    "RecordingChanged",
    "RecordingError",
    "RecordingGone",
    "RecordingMissing",
    "RecordingNotPermitted",
    "RecordingNotRegular",
    "RecordingOutside",
    "RecordingUnreadable",
    "RequestRefused",
    "SchemaTooNew",
    "StoreError",
    "StoreUnavailable",
    "SwitchUnavailable",
    "TooManyEndpoints",
    "TooManyReaders",
    "TooManyTests",
    "UrlRefused",
    "WebhookError",
    "WrongState",
]
