import { TokenManagerError } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { DataKeyRow } from './data-key-store.ts';
import { unwrapDataKey, wrapDataKey } from './data-key-wrapping.ts';
import type { KeyProviders } from './key-provider.ts';
import { keyServiceError, outcomeOf } from './key-service-error.ts';

/** One line for each kind of failure in this time, whoever asks how often. */
const logEveryMs = 10_000;
const unknownProvider = 'unknown';

export interface KeyServiceOptions {
  keyProviders: KeyProviders;
  clock: Clock;
  metrics: Pick<Metrics, 'dataKeyOperations'>;
  log: Pick<Logger, 'warn'>;
}

/** The key providers as a process uses them: each call is counted, and a failure logged. */
export interface KeyService {
  /** The caller wipes `plaintextKey`. Throws `key_service_unavailable`. */
  wrap(key: Pick<DataKeyRow, 'id' | 'purpose'>, plaintextKey: Buffer): Promise<DataKeyRow>;
  /** 32 bytes, to be wiped by the caller. Throws `key_service_unavailable`. */
  unwrap(row: DataKeyRow): Promise<Buffer>;
}

export function createKeyService(options: KeyServiceOptions): KeyService {
  const { keyProviders, clock, metrics, log } = options;
  const loggedAtMs = new Map<string, number>();

  async function counted<Result>(
    call: { provider: string; op: 'wrap' | 'unwrap'; row: Pick<DataKeyRow, 'id' | 'purpose'> },
    run: () => Promise<Result>,
  ): Promise<Result> {
    const { provider, op } = call;
    try {
      const result = await run();
      metrics.dataKeyOperations.inc({ provider, op, outcome: 'ok' });
      return result;
    } catch (cause) {
      const failure =
        cause instanceof TokenManagerError
          ? cause
          : keyServiceError('unavailable', 'The key provider failed: see the cause.', cause);
      metrics.dataKeyOperations.inc({ provider, op, outcome: outcomeOf(failure) });
      tell(call, failure);
      throw failure;
    }
  }

  function tell(
    { provider, op, row }: Parameters<typeof counted>[0],
    failure: TokenManagerError,
  ): void {
    const reason = outcomeOf(failure);
    const kind = `${provider} ${op} ${reason}`;
    const now = clock.monotonicMs();
    if (now - (loggedAtMs.get(kind) ?? -Infinity) < logEveryMs) return;
    loggedAtMs.set(kind, now);
    log.warn(
      { key_provider: provider, reason, data_key_id: row.id, purpose: row.purpose, err: failure },
      `a data key cannot be ${op}ped`,
    );
  }

  return {
    wrap: (row, plaintextKey) =>
      counted({ provider: keyProviders.wrapping.name, op: 'wrap', row }, () =>
        wrapDataKey(keyProviders.wrapping, row, plaintextKey),
      ),
    unwrap: (row) => {
      // The name in the row may be anything, and labels are bounded.
      const provider = keyProviders.named(row.keyProvider)?.name ?? unknownProvider;
      return counted({ provider, op: 'unwrap', row }, () => unwrapDataKey(keyProviders, row));
    },
  };
}
