"""That the pools and links of both transports have the interfaces of `transport.base`: checked by the type checkers."""

from __future__ import annotations

from fluxa_fast.flows.topology import ClusterMap, NodeMap
from fluxa_fast.transport.aio import cluster as aio_cluster
from fluxa_fast.transport.aio import link as aio_link
from fluxa_fast.transport.aio import pool as aio_pool
from fluxa_fast.transport.base import AnyPool, AsyncLink, AsyncPool, BlockingLink, BlockingPool
from fluxa_fast.transport.blocking import cluster, link, pool


def blocking_pools(server: pool.Pool, nodes: cluster.ClusterPool) -> list[BlockingPool]:
    return [server, nodes]


def awaited_pools(server: aio_pool.Pool, nodes: aio_cluster.ClusterPool) -> list[AsyncPool]:
    return [server, nodes]


def blocking_links(server: link.Link, routed: cluster.RoutedLink) -> list[BlockingLink]:
    return [server, routed]


def awaited_links(server: aio_link.Link, routed: aio_cluster.RoutedLink) -> list[AsyncLink]:
    return [server, routed]


def what_flows_know(one: BlockingPool, other: AsyncPool) -> list[NodeMap]:
    return [one, other]


def what_flows_know_of_clusters(one: cluster.ClusterPool, other: aio_cluster.ClusterPool) -> list[ClusterMap]:
    return [one, other]


def what_flushers_know(one: BlockingPool, other: AsyncPool) -> list[AnyPool]:
    return [one, other]
