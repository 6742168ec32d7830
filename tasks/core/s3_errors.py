"""What S3 and boto3 refuse, in words that name the bucket and the fix, and no secret."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore import exceptions as failures

from tasks.core.errors import BadInput, UpdraftError

CUT_OFF = (failures.ReadTimeoutError, failures.ResponseStreamingError, failures.IncompleteReadError)
"""Failures in the middle of an answer."""

_NOT_THERE = {"404", "NoSuchKey", "KeyTooLongError"}
_KEPT_OUT = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_ELSEWHERE = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_NO_CREDENTIALS = (
    failures.NoCredentialsError,
    failures.PartialCredentialsError,
    failures.CredentialRetrievalError,
    failures.ProfileNotFound,
    failures.TokenRetrievalError,
)


@contextmanager
def told(uri: str, endpoint: str, path: str = "") -> Iterator[None]:
    """Raises boto3's failures as the platform's own; see `tasks.core.bucket.Bucket`."""
    try:
        yield
    except failures.ClientError as error:
        if code_of(error) in _NOT_THERE:
            raise FileNotFoundError(f"{path} is not in {uri}") from None
        raise _refusal(uri, endpoint, error) from error
    except _NO_CREDENTIALS as error:
        fix = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is given."
        raise BadInput(f"{uri}: no usable credentials for S3 ({type(error).__name__}).", fix) from None
    except failures.ParamValidationError:
        raise BadInput(f"{uri}: not a bucket's name.", "Write s3://bucket/prefix.") from None
    except failures.BotoCoreError as error:
        fix = "Check UPDRAFT_S3_ENDPOINT_URL and the network, or try again."
        raise UpdraftError(f"{uri}: S3 at {shown(endpoint)} fails: {type(error).__name__}.", fix) from error


def code_of(error: Exception) -> str:
    """What S3 calls the failure that ``error`` is, or was made from."""
    origin = error.__cause__ or error
    return str(origin.response["Error"].get("Code", "")) if isinstance(origin, failures.ClientError) else ""


def shown(endpoint: str) -> str:
    """The endpoint's host; a password in its address is not shown."""
    return urlsplit(endpoint).netloc.rpartition("@")[2] or endpoint or "amazonaws.com"


def _refusal(uri: str, endpoint: str, error: failures.ClientError) -> UpdraftError:
    code = code_of(error)
    if code == "NoSuchBucket":
        return BadInput(f"{uri}: there is no such bucket.", "Create it, or name another one.")
    if code in _KEPT_OUT:
        fix = "Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, the role) and the bucket's policy."
        return BadInput(f"{uri}: S3 at {shown(endpoint)} does not let us in ({code}).", fix)
    if code in _ELSEWHERE:
        return BadInput(f"{uri}: the bucket is in another region.", "Set AWS_DEFAULT_REGION to the bucket's.")
    message = error.response["Error"].get("Message", "")
    return UpdraftError(f"{uri}: S3 at {shown(endpoint)} answered {code} {message}", "Try again.")
