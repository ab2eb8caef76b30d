"""Wires one operator process together: connection, lease, daemons, watches, probes. Decides nothing."""

import asyncio
import gc
import logging
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from modelwarden import __version__
from modelwarden.cells import HttpCells
from modelwarden.cluster.client import KubernetesCluster
from modelwarden.cluster.connection import Connection, connect
from modelwarden.cluster.lease import Clocks, Lease, Lost
from modelwarden.errors import ReconcileError
from modelwarden.handlers import children, engine, objects
from modelwarden.probes import Health, ProbeServer
from modelwarden.reconcile.collaborators import Collaborators, Install, Rhythm
from modelwarden.reconcile.daemons import Daemons
from modelwarden.reconcile.installation import install_secret
from modelwarden.reconcile.kinds import reconcilers_of
from modelwarden.reconcile.outcome import Pace
from modelwarden.reconcile.ports import Key
from modelwarden.settings import OperatorSettings
from modelwarden.telemetry import Metrics, configure_logging

_log = logging.getLogger("modelwarden")
_LEASE = "modelwarden-operator"


def run(settings: OperatorSettings) -> int:
    """Run until told to stop (0) or unable to go on (1: the pod is restarted)."""
    configure_logging(settings.log_level, settings.log_format)
    # What is imported never becomes garbage: without it a full collection does not stop the loop for long.
    gc.collect()
    gc.freeze()
    return asyncio.run(_Operator(settings).run())


class _Operator:
    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._metrics = Metrics(__version__)
        self._health = Health(settings.stuck_after)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            # As process 1 of a container a signal without a handler is ignored.
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        settings = self._settings
        probes = ProbeServer(settings.probe_host, settings.probe_port, self._health, self._metrics.exposition)
        _log.info("probes and metrics on port %d", probes.port)
        connection = await connect(f"modelwarden-operator/{__version__}")
        cluster = KubernetesCluster(connection.client(), settings.api_timeout)
        try:
            return await self._lead(cluster, connection)
        finally:
            await cluster.close()
            await asyncio.to_thread(probes.close)

    async def _lead(self, cluster: KubernetesCluster, connection: Connection) -> int:
        """Hold the lease around everything that writes."""
        settings = self._settings
        clocks = Clocks(time.monotonic, lambda: datetime.now(UTC))
        lease = Lease(
            cluster, Key(settings.namespace, _LEASE), settings.identity, settings.lease_duration, clocks
        )
        self._health.waiting_for = "the lease"
        waiting = [self._health.beat(lambda: 0.0), lease.acquire(), self._stop.wait()]
        beat, acquired, stopped = [asyncio.create_task(step) for step in waiting]
        try:
            await asyncio.wait((acquired, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return 0
            return await self._act(cluster, connection, lease)
        finally:
            self._health.ready = False
            for task in (beat, acquired, stopped):
                task.cancel()
            await lease.release()

    async def _act(self, cluster: KubernetesCluster, connection: Connection, lease: Lease) -> int:
        keep = asyncio.create_task(lease.keep(), name="lease")
        work = asyncio.create_task(self._work(cluster, connection), name="operator")
        try:
            await asyncio.wait((keep, work), return_when=asyncio.FIRST_COMPLETED)
            if keep.done() and not work.done():
                _log.error("stopping: %s", keep.exception() or Lost("the lease was not kept"))
                # Another operator may act already: end at once, with no graceful phase that still writes.
                logging.shutdown()
                os._exit(1)
            work.result()
        except ReconcileError as error:
            _log.error("cannot go on: %s", error)
            return 1
        else:
            return 0
        finally:
            for task in (keep, work):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _work(self, cluster: KubernetesCluster, connection: Connection) -> None:
        settings = self._settings
        await self._until_served(cluster)
        secret = await install_secret(cluster, settings.namespace, os.urandom)
        async with HttpCells(settings.endpoint, settings.cell_timeout) as cells:
            reconcilers = reconcilers_of(self._collaborators(cluster, cells, secret))
            pace = Pace(settings.resync, settings.backoff_first, settings.backoff_most, random.random)
            daemons = Daemons(reconcilers, pace, settings.concurrency, time.monotonic, self._metrics)
            background = [
                asyncio.create_task(self._health.beat(daemons.oldest_wait), name="beat"),
                asyncio.create_task(self._relist(cluster, daemons), name="relist"),
            ]
            try:
                await self._watch(connection, daemons)
            finally:
                for task in background:
                    task.cancel()
                await daemons.stop()

    def _collaborators(self, cluster: KubernetesCluster, cells: HttpCells, secret: bytes) -> Collaborators:
        settings = self._settings
        install = Install(
            namespace=settings.namespace,
            secret=secret,
            cell_image=settings.cell_image,
            pull_policy=settings.cell_image_pull_policy,
            ingress_namespaces=settings.ingress_namespaces,
            store_resources=settings.store_resources,
            training_resources=settings.training_resources,
            pod_defaults=settings.pod_defaults,
            cell_python=settings.cell_python,
            runtimes=settings.runtimes,
            package_index=settings.package_index,
        )
        rhythm = Rhythm(settings.poll_interval, settings.data_facts_interval, settings.delete_deadline)
        return Collaborators(cluster, cells, install, rhythm, settings.endpoint, lambda: datetime.now(UTC))

    async def _until_served(self, cluster: KubernetesCluster) -> None:
        """The chart brings CRDs and operator at once: wait until the API server serves our kinds."""
        self._health.waiting_for = "the custom resource definitions"
        while True:
            if await cluster.serves(objects.OWN_KINDS):
                return
            await asyncio.sleep(1)

    async def _relist(self, cluster: KubernetesCluster, daemons: Daemons) -> None:
        """List everything at start, and at each resync again, should a watch have gone silent."""
        self._health.waiting_for = "the first full list"
        namespaces: Sequence[str | None] = self._settings.watch_namespaces or (None,)
        while True:
            try:
                for kind in objects.OWN_KINDS:
                    for namespace in namespaces:
                        for live in await cluster.list(kind, namespace):
                            daemons.saw(kind, live)
                self._health.ready = True
                await asyncio.sleep(self._settings.resync)
            except ReconcileError as error:
                _log.warning("listing failed: %s", error)
                await asyncio.sleep(self._settings.backoff_first)

    async def _watch(self, connection: Connection, daemons: Daemons) -> None:
        """Run kopf until it is told to stop."""
        registry = kopf.OperatorRegistry()
        settings = engine.engine_settings()
        engine.register_login(registry, connection)
        objects.register(registry, daemons)
        children.register(registry, daemons, settings)
        namespaces = self._settings.watch_namespaces
        await kopf.operator(
            registry=registry,
            settings=settings,
            namespaces=namespaces,
            clusterwide=not namespaces,
            standalone=True,
            stop_flag=self._stop,
            # Else kopf looks up the name of the user, and in a container ours has none.
            identity=cast("Any", self._settings.identity),
        )
