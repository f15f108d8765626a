import { findFreePort } from '../../dev/ports.ts';
import { expireTokens } from '../expire-tokens.ts';
import type { RowLockOptions, RowLockPeer } from '../programs/row-lock-peer.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { summarise } from '../statistics.ts';
import { readsPerSecond } from './hot-read.ts';

const callers = 32;
const stampedeCallers = 500;
const stampedeDelayMs = 200;

/** Against the service that takes a day to write: its hot read, its refreshes, its stampede. */
export const rowLock: Scenario = {
  figures: ['hot_read_to_row_lock_peer'],
  async prepare({ stack, extent, tell }) {
    const connections = extent.isQuick ? 64 : 500;
    const stores = await prepareConnections(stack, 'row_lock', connections, tell);
    const ids = connectionIds(connections);
    const paths = ids.map(tokenPath);
    const provider = await stack.provider();
    const temporal = await stack.temporalEnv();
    await stack.service('worker', 'row_lock', temporal);
    const service = await stack.service('gateway', 'row_lock', temporal);
    const port = await findFreePort();
    const peer = await stack.program<RowLockPeer>('row-lock-peer', {
      port,
      url: stores.url,
      tokenUrl: await provider.call.tokenUrl(),
      count: connections,
    } satisfies RowLockOptions);
    const load = await stack.load();
    const { headers } = stack;
    const ours = { origin: service.origin, headers };
    const theirs = { origin: `http://127.0.0.1:${port}`, headers };
    const behave = (delayMs: number) => provider.call.behave({ delayMs, expiresInSeconds: 3_600 });

    async function refreshAll(target: typeof ours): Promise<number> {
      await behave(0);
      const { elapsedMs } = await load.call.takeEach({ target, paths, callers });
      return (1_000 * connections) / elapsedMs;
    }
    async function rush(target: typeof ours): Promise<number> {
      await behave(stampedeDelayMs);
      const [path = ''] = paths;
      const same = Array.from({ length: stampedeCallers }, () => path);
      const { latenciesMs } = await load.call.rush({ target, paths: same });
      return Math.max(...latenciesMs);
    }
    const expireOurs = (expired: string[]) => expireTokens(stores, expired);
    const sides = {
      peer_reads: () => readsPerSecond(load, theirs, paths, extent.seconds),
      our_reads: () => readsPerSecond(load, ours, paths, extent.seconds),
      peer_refreshes: () => peer.call.expire().then(() => refreshAll(theirs)),
      our_refreshes: () => expireOurs(ids).then(() => refreshAll(ours)),
      peer_stampede: () => peer.call.expire().then(() => rush(theirs)),
      our_stampede: () => expireOurs(ids.slice(0, 1)).then(() => rush(ours)),
    };
    await sides.peer_reads();
    await sides.our_reads();
    await sides.peer_stampede();
    await sides.our_stampede();

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      const delay = `provider ${stampedeDelayMs} ms`;
      const row = (what: string, unit: string, values: number[]) => ({
        what,
        unit,
        summary: summarise(values),
      });
      return {
        figures: [
          {
            name: 'hot_read_to_row_lock_peer',
            summary: ratio(measured.our_reads, measured.peer_reads),
            bar: { atLeast: 4 },
          },
        ],
        measurements: [
          row('row-lock service, hot read', 'requests/s', measured.peer_reads),
          row('ours', 'requests/s', measured.our_reads),
          row(
            `row-lock service, refresh, ${callers} callers`,
            'refreshes/s',
            measured.peer_refreshes,
          ),
          row('ours', 'refreshes/s', measured.our_refreshes),
          row(
            `row-lock service, the last of ${stampedeCallers} callers, ${delay}`,
            'ms',
            measured.peer_stampede,
          ),
          row('ours', 'ms', measured.our_stampede),
        ],
      };
    };
  },
};
