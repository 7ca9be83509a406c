"""What can be set of answering: where it listens, who may ask, the store, the keys, and the limits of an answer."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hashmatch.service.addresses import mask_url
from hashmatch.service.config_section import MIB, Section


class ServerSection(Section, frozen=True, kw_only=True):
    """Where the server listens and how much it takes on."""

    listen: Annotated[
        str, Meta(description="Where MatchService and ListService listen: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.")
    ] = "127.0.0.1:50051"
    admin_listen: Annotated[
        str,
        Meta(description="Where ListAdminService listens, apart from the others. Empty disables administration."),
    ] = "127.0.0.1:50052"
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="How many processes answer on `server.listen`: as many as there are cores to answer with. They "
            "share the tables; with more than one, another process builds these and has the administration. Limits of "
            "this section hold for each worker. More than one needs Linux and a TCP address.",
        ),
    ] = 1
    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="The directory for what this server keeps itself: the embedded store, the generated sealing "
            "key, the highest epoch seen. Created with mode 0700.",
        ),
    ] = "./hashmatch-data"
    reflection: Annotated[bool, Meta(description="Whether gRPC reflection tells the contract to callers.")] = True
    grace_seconds: Annotated[
        float,
        Meta(ge=0, le=600, description="How long calls in progress may take to finish after SIGTERM."),
    ] = 10.0
    maximum_message_bytes: Annotated[
        int,
        Meta(
            ge=2 * MIB,
            le=256 * MIB,
            description="The largest request. gRPC itself refuses a larger one with RESOURCE_EXHAUSTED, before any "
            "code of ours sees it, so that the refusal carries no ErrorInfo and no request id.",
        ),
    ] = 16 * MIB
    maximum_concurrent_requests: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="How many unary calls a listener works on at once. More are refused with OVERLOADED.",
        ),
    ] = 256
    maximum_concurrent_streams: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="How many streaming calls a listener keeps open at once, counted apart because a subscription "
            "can stay for days. More are refused with OVERLOADED.",
        ),
    ] = 256
    maximum_share_per_caller: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="The share of either limit that one caller may hold, so that one cannot starve the others.",
        ),
    ] = 0.5
    maximum_calls_per_connection: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="How many calls a client may have open on one connection (HTTP/2's concurrent streams). "
            "Further ones wait in the client.",
        ),
    ] = 128
    keepalive_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=7_200,
            description="After how long without a word on a connection the server asks whether the client is still "
            "there. One that does not answer within as long again, or 20 seconds, is gone, and its calls end. Shorter "
            "than what routers and balancers between forget idle connections after. Clients may ask every 10 seconds.",
        ),
    ] = 60.0
    overload_retry_seconds: Annotated[
        float,
        Meta(ge=0.01, le=60, description="When a caller that was refused with OVERLOADED is told to come back."),
    ] = 0.5
    require_deadline: Annotated[
        bool, Meta(description="Whether a unary call without a deadline is refused. Streaming calls never need one.")
    ] = True
    maximum_batch_items: Annotated[
        int,
        Meta(ge=1, le=1_000, description="The most items in a BatchMatch request; the contract's own limit is 1,000."),
    ] = 1_000
    maximum_bulk_digests: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="The most digests in a BulkMatch request; the contract's own limit is 100,000.",
        ),
    ] = 100_000


class TlsSection(Section, frozen=True, kw_only=True):
    """Mutual TLS. All empty means plaintext, which is refused unless both listeners are on loopback or unix sockets."""

    certificate_file: Annotated[str, Meta(description="The server's certificate chain, PEM.")] = ""
    key_file: Annotated[str, Meta(description="The private key of the certificate, PEM.")] = ""
    client_ca_file: Annotated[
        str,
        Meta(
            description="The authorities whose clients may connect, PEM. A client is known by the one URI in its "
            "certificate's subject alternative name."
        ),
    ] = ""
    admin_client_ca_file: Annotated[
        str,
        Meta(description="The authorities whose clients may connect to `server.admin_listen`; empty means the same."),
    ] = ""


class AccessSection(Section, frozen=True, kw_only=True):
    """Who may call which listener, by the URI in the client's certificate, whatever the policy says.

    Needs TLS: without it nobody's identity is proven. What a caller may see is for the policy to say.
    """

    matching: Annotated[
        tuple[str, ...],
        Meta(description="Who may call MatchService and ListService. Empty means everybody whom the listener admits."),
    ] = ()
    administration: Annotated[
        tuple[str, ...],
        Meta(description="Who may call ListAdminService. Empty means everybody whom the listener admits."),
    ] = ()


class StoreSection(Section, frozen=True, kw_only=True):
    """Redis or Valkey, where sealed lists are kept."""

    url: Annotated[
        str,
        Meta(
            description="The store: `redis://HOST:PORT/DATABASE`, `unix://PATH`, a cluster by some of its nodes "
            "(`redis+cluster://HOST:PORT,HOST:PORT`), or what sentinels watch "
            "(`redis+sentinel://HOST:PORT,HOST:PORT/SERVICE`); over TLS with `rediss` in place of `redis`. Empty "
            "starts an embedded Valkey in `server.data_dir`. It must not contain a password.",
        ),
    ] = ""
    namespace: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
            description="The prefix of every key, so that deployments can share a store.",
        ),
    ] = "hashmatch"
    connect_timeout: Annotated[
        float, Meta(ge=0.01, le=60, description="Seconds to wait for a connection to the store.")
    ] = 1.0
    operation_timeout: Annotated[
        float, Meta(ge=0.01, le=60, description="Seconds to wait for an answer of the store while matching.")
    ] = 1.0
    maximum_connections: Annotated[
        int, Meta(ge=2, le=1_024, description="How many connections to the store each process of a server opens.")
    ] = 16
    poll_interval: Annotated[
        float,
        Meta(
            ge=0.01,
            le=60,
            description="Seconds between looks at the manifest. It bounds how late a change that was not notified is "
            "seen: keep it below one second.",
        ),
    ] = 0.25
    archive: Annotated[
        bool,
        Meta(
            description="Whether a server with administration keeps sealed copies of what it publishes in "
            "`server.data_dir`, from which it restores a store that lost data. Costs the disk what the store holds."
        ),
    ] = True
    username: Annotated[str, Meta(description="The ACL user of the store; needs `store.password_file`.")] = ""
    password_file: Annotated[str, Meta(description="The file that holds the store's password.")] = ""
    excessive_rights: Annotated[
        Literal["auto", "refuse", "allow"],
        Meta(
            description="What becomes of a server whose user of the store may do more than it needs (list keys, read "
            "others, empty or stop the store, change settings, see users; without administration also write lists). "
            "`refuse`: it does not start, or is not ready. `allow`: it says so in its log and metrics. `auto`: refuse "
            "where there is TLS. An embedded store is not looked at. `deploy/valkey/users.acl` has users with just "
            "enough."
        ),
    ] = "auto"

    @property
    def embedded(self) -> bool:
        """Whether this server runs its own store."""
        return not self.url

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        values["url"] = mask_url(self.url)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


class SealingSection(Section, frozen=True, kw_only=True):
    """The key under which everything in the store is sealed."""

    key_file: Annotated[
        str,
        Meta(
            description="The file that holds the sealing key, made by `hashmatch-server keygen`. Empty generates one "
            "in `server.data_dir`, which is allowed with the embedded store only."
        ),
    ] = ""
    next_key_file: Annotated[
        str,
        Meta(
            description="The file that holds the key of other servers that are further in a rotation: what they seal "
            "opens here too."
        ),
    ] = ""
    old_key_files: Annotated[
        tuple[str, ...],
        Meta(
            description="The files that hold keys to be done without. What is sealed under them opens, and a server "
            "with administration seals it anew in the background; `hashmatch_under_old_keys` is 0 when nothing is left."
        ),
    ] = ()


class MatchingSection(Section, frozen=True, kw_only=True):
    """How questions are answered."""

    blocks: Annotated[
        Literal["store", "resident"],
        Meta(
            description="Where possible matches are confirmed: `store` reads sealed blocks through a cache, `resident` "
            "keeps all of them in memory (about 40 bytes an entry) and does not need the store to answer."
        ),
    ] = "store"
    block_cache_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 40,
            description='The size of the cache of blocks, of all workers together, for `matching.blocks = "store"`. '
            "Lists that are loaded fill it as far as there is room.",
        ),
    ] = 256 * MIB
    maximum_unconfirmed_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="How long a server answers on without seeing in the store that its snapshot is the current "
            "one. After that, what would be negative is NOT_DETERMINED.",
        ),
    ] = 900.0
    maximum_distance: Annotated[
        int,
        Meta(
            ge=0,
            le=31,
            description="The largest Hamming distance at which a PDQ code counts as near; a list may state a smaller "
            "one. 0 for equality alone.",
        ),
    ] = 31
    minimum_quality: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="PDQ codes that come with a lower quality are not searched: NOT_DETERMINED, LOW_QUALITY.",
        ),
    ] = 50
    photodna_maximum_distance: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="The largest squared Euclidean distance at which a PhotoDNA value counts as near. 0 for "
            "equality alone; otherwise every listed value is kept in memory (144 bytes) and compared.",
        ),
    ] = 0
    search_work_limit: Annotated[
        int,
        Meta(
            ge=1_000,
            le=1 << 40,
            description="How many listed values may be compared in the search for one. A value that would take more is "
            "NOT_DETERMINED, WORK_LIMIT: it lies where the lists are full of near duplicates.",
        ),
    ] = 5_000_000
    maximum_near_values: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Of how many listed values near one the opinions are looked up, nearest first. Where there are "
            "more, the answer says so with WORK_LIMIT beside what was found.",
        ),
    ] = 1_000
