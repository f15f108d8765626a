import { NativeConnection } from '@temporalio/worker';
import { TokenManagerError } from '../client/contract.ts';
import type { TemporalConnectionConfig } from './temporal-settings.ts';

/** Core keeps no deadline of its own when the address swallows packets. */
const nativeConnectLimitMs = 10_000;

/** A connection for workers. Rejects when Temporal is away, after 10 s at the latest. */
export async function connectNatively(config: TemporalConnectionConfig): Promise<NativeConnection> {
  const connecting = NativeConnection.connect(config.connectionOptions());
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), nativeConnectLimitMs);
  });
  try {
    const connection = await Promise.race([connecting, limit]);
    if (connection !== undefined) return connection;
    // Nobody waits for it any more; should it still come about, it is closed.
    void connecting.then((late) => late.close()).catch(() => undefined);
    const seconds = nativeConnectLimitMs / 1_000;
    throw new TokenManagerError('refresh_engine_unavailable', {
      detail: `Temporal at ${config.address} did not answer within ${seconds} s.`,
    });
  } finally {
    clearTimeout(timer);
  }
}
