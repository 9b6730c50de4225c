"""What a Kafka error means to who reads it: a broker that is away, or a grant that lacks, by its name.

A broker says what it refuses (a topic, a group, a transactional id, the cluster) and not which operation would have
been let through; the caller says what it was about to do. docs/brokers.md, "Grants", has them all by role.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.errors import (
    BrokerNotAvailableError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    KafkaTimeoutError,
    ProducerClosed,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)

from pipeline.errors import AwayError, NotAllowedError, UnavailableError

SEE = 'docs/brokers.md, "Grants", has all of them; `pipeline doctor` checks them'


def unavailable(what: str, error: KafkaError, operation: str, name: str = "") -> UnavailableError:
    """Return the error to raise for one of Kafka's.

    Args:
        what: could not be done, in words.
        error: what the client raised.
        operation: that a grant is needed for, as Kafka calls it: Read, Write, Describe, Create.
        name: of the topic, group or transactional id, where the error itself may not tell.
    """
    if (grant := lacking(error, operation, name)) is not None:
        return NotAllowedError(f"{what}: {grant}")
    if isinstance(error, SaslAuthenticationFailed):
        told = "; ".join(str(each) for each in error.args)
        return NotAllowedError(f"{what}: the broker refuses the name or the password of PIPELINE_KAFKA_*: {told}")
    return (AwayError if is_away(error) else UnavailableError)(f"{what}: {error!r}")


def is_away(error: BaseException) -> bool:
    """Whether brokers are to be waited for; False where they refuse what they are asked, or what is asked for is gone.

    >>> [is_away(each()) for each in (KafkaTimeoutError, UnknownTopicOrPartitionError, ValueError)]
    [True, False, False]
    """
    if isinstance(error, UnknownTopicOrPartitionError):
        return False
    if isinstance(error, AwayError | BrokerNotAvailableError | KafkaTimeoutError | ProducerClosed):
        return True
    return isinstance(error, KafkaError) and bool(error.retriable)


def check(code: int) -> None:
    """Raise the error that a code in an answer means."""
    if code:
        error: KafkaError = for_code(code)()
        raise error


def lacking(error: BaseException, operation: str, name: str = "") -> str | None:
    """Return which grant an error is the lack of; None where it is something else.

    >>> lacking(TopicAuthorizationFailedError({"rewards"}), "Write")
    'the grant Write on topic rewards lacks (docs/brokers.md, "Grants", has all of them; `pipeline doctor` checks them)'
    """
    match error:
        case TopicAuthorizationFailedError():
            resource = f"topic {_told(error.args) or name}"
        case GroupAuthorizationFailedError():
            resource = f"group {_told(error.args) or name}"
        case TransactionalIdAuthorizationFailed():
            resource = f"transactional id {name or _told(error.args)}"
        case ClusterAuthorizationFailedError():
            resource = "the cluster"
        case _:
            return None
    return f"the grant {operation} on {resource} lacks ({SEE})"


def _told(arguments: Iterable[object]) -> str:
    """Return the names that aiokafka puts into an error: one, or a set of them."""
    names: list[str] = []
    for argument in arguments:
        names += (
            [argument] if isinstance(argument, str) else map(str, argument if isinstance(argument, Iterable) else [])
        )
    return ", ".join(sorted(names))
