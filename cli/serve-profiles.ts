import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import { createPprofServer, type PprofServer } from '../platform/pprof-server.ts';
import { loadProfiler, type Profiler } from '../platform/profiler.ts';

/**
 * Profiles of this process on PPROF_PORT; undefined when that is 0. Where the profiler has no binary for
 * the platform, the process goes on without. Rejects when the port is in use.
 */
export async function serveProfiles(
  config: Pick<Config, 'pprof'>,
  log: Pick<Logger, 'info' | 'warn' | 'error'>,
): Promise<PprofServer | undefined> {
  const { host, port } = config.pprof;
  if (port === 0) return undefined;
  let profiler: Profiler;
  try {
    profiler = await loadProfiler();
  } catch (error) {
    log.warn({ err: error }, 'there are no profiles on this platform: PPROF_PORT has no effect');
    return undefined;
  }
  try {
    const server = await createPprofServer({ host, port, profiler, log });
    log.info({ url: server.url }, 'profiles are served');
    return {
      url: server.url,
      async close() {
        await server.close();
        profiler.close();
      },
    };
  } catch (error) {
    profiler.close();
    throw error;
  }
}
