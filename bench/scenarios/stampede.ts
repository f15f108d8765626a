import { expireTokens } from '../expire-tokens.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { summarise } from '../statistics.ts';

const callers = 1_000;
const providerDelayMs = 200;

/** A thousand callers of one expired connection, to a single caller. */
export const stampede: Scenario = {
  figures: ['stampede_exchanges', 'stampede_last_to_single'],
  async prepare({ stack, extent, tell }) {
    const stores = await prepareConnections(stack, 'stampede', 1, tell);
    const ids = connectionIds(1);
    const path = tokenPath(ids[0] ?? '');
    const provider = await stack.provider();
    const service = await stack.service('all-in-one', 'stampede', await stack.temporalEnv());
    const load = await stack.load();
    const target = { origin: service.origin, headers: stack.headers };
    const exchanged: number[] = [];

    async function rush(count: number): Promise<number> {
      await expireTokens(stores, ids);
      await provider.call.behave({ delayMs: providerDelayMs, expiresInSeconds: 3_600 });
      const paths = Array.from({ length: count }, () => path);
      const { latenciesMs, failed, failure } = await load.call.rush({ target, paths });
      if (failed > 0) throw new Error(`${failed} of ${count} calls failed: ${failure ?? ''}`);
      const { exchanges, reused } = await provider.call.counts();
      if (reused > 0) throw new Error('a spent refresh token was sent again');
      if (count > 1) exchanged.push(exchanges);
      return Math.max(...latenciesMs);
    }
    const sides = { single: () => rush(1), stampede: () => rush(callers) };
    for (const warmUp of Object.values(sides)) await warmUp();
    exchanged.length = 0;

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      return {
        figures: [
          {
            name: 'stampede_exchanges',
            summary: summarise(exchanged),
            bar: { equals: 1 },
            guard: { equals: 1 },
          },
          {
            name: 'stampede_last_to_single',
            summary: ratio(measured.stampede, measured.single),
            bar: { atMost: 2 },
          },
        ],
        measurements: [
          {
            what: `one caller of an expired token, provider ${providerDelayMs} ms`,
            unit: 'ms',
            summary: summarise(measured.single),
          },
          {
            what: `the last of ${callers} callers`,
            unit: 'ms',
            summary: summarise(measured.stampede),
          },
        ],
      };
    };
  },
};
