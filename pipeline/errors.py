"""What can go wrong; the class says the reaction.

```
PipelineError
├─ ConfigError          refuse to start; names the setting, the value seen, what is accepted
├─ RecordError          dead-letter and go on
│   ├─ DecodeError          the bytes are no record
│   └─ InvalidRecordError   a record, but not one that can be used
├─ StateError           stop the worker; never guess
│   ├─ FencedError          another worker owns the state now: stop, start again
│   └─ LogChangedError      a log is not the one that was read: an operator says what is to be
└─ UnavailableError     a service is away; retry with backoff
    ├─ AwayError            no broker answers, or none that may: it comes back, wait for as long as it takes
    └─ NotAllowedError      it answers, and lets this user not do it: say which grant lacks
```
"""

from __future__ import annotations

from collections.abc import Sequence


class PipelineError(Exception):
    """Anything this package raises on purpose."""


class ConfigError(PipelineError):
    """A definition or setting that can't be accepted, with every fault found in it."""

    def __init__(self, what: str, faults: Sequence[str]) -> None:
        self.what = what
        self.faults = tuple(faults)
        super().__init__(f"{what}: " + "; ".join(self.faults))


class RecordError(PipelineError):
    """A record that can't be used; `reason` is one of a closed set of kebab-case words."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class DecodeError(RecordError):
    """The bytes are not a record of a known encoding and schema."""


class InvalidRecordError(RecordError):
    """A well-formed record that breaks its schema's or its policy's bounds."""


class StateError(PipelineError):
    """Stored state is not what the code expects: stop, never guess."""


class FencedError(StateError):
    """Another worker has taken this one's place, since it was taken for dead."""


class LogChangedError(StateError):
    """A log is not the one that was read: made anew, restored, mirrored or cut off."""


class UnavailableError(PipelineError):
    """A service does not answer in time."""


class AwayError(UnavailableError):
    """Brokers are away, or choose who leads: nobody's fault here, and over some time."""


class NotAllowedError(UnavailableError):
    """A service refuses this user; the message names the grant that lacks."""
