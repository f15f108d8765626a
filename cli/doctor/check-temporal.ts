import type { Connection } from '@temporalio/client';
import type { Config } from '../../platform/config.ts';
import { reporterOf, type Finding } from './finding.ts';
import { checkNamespace } from './check-namespace.ts';
import { checkPollers } from './check-pollers.ts';
import { checkSearchAttributes } from './check-search-attributes.ts';
import { grpcCodeOf, grpcCodes, grpcReasonOf, type Ask } from './grpc-reason.ts';

const callLimitMs = 5_000;
/** The server that this build is tested with. */
const testedVersion: readonly [number, number] = [1, 32];

const report = reporterOf('temporal');

/** Whether Temporal answers, has the namespace and the search attributes, and workers poll. */
export async function checkTemporal(
  connection: Connection,
  config: Config['temporal'],
  wallMs: () => number,
): Promise<Finding[]> {
  const ask: Ask = (call) => connection.withDeadline(wallMs() + callLimitMs, call);
  try {
    const { serverVersion } = await ask(() => connection.workflowService.getSystemInfo({}));
    const version = judgeVersion(serverVersion, config.address);
    const namespace = await checkNamespace(connection, config, ask);
    if (namespace.some(({ state }) => state === 'fault')) return [version, ...namespace];
    return [
      version,
      ...namespace,
      await checkSearchAttributes(connection, config, ask),
      ...(await checkPollers(connection, config, ask)),
    ];
  } catch (error) {
    return [judgeFailure(error, config.address)];
  }
}

export function judgeVersion(serverVersion: string, address: string): Finding {
  const what = `Temporal ${serverVersion} at ${address}`;
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(serverVersion) ?? [];
  if (major === undefined || minor === undefined) return report.ok(`${what} answers`);
  const [testedMajor, testedMinor] = testedVersion;
  const isOld =
    Number(major) < testedMajor || (Number(major) === testedMajor && Number(minor) < testedMinor);
  return isOld
    ? report.warning(
        `${what} is older than ${testedVersion.join('.')}, with which this build is tested`,
        'upgrade the Temporal server',
      )
    : report.ok(`${what} answers`);
}

export function judgeFailure(error: unknown, address: string): Finding {
  const code = grpcCodeOf(error);
  const reason = grpcReasonOf(error);
  if (code === grpcCodes.unauthenticated || code === grpcCodes.permissionDenied) {
    return report.fault(
      `Temporal at ${address} refuses this client: ${reason}`,
      'correct TEMPORAL_API_KEY or the client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH, …_KEY_PATH)',
    );
  }
  return report.fault(
    `Temporal at ${address} cannot be reached: ${reason}. Tokens that are valid are served, none is ` +
      'refreshed',
    'start it, open the way to it, or correct TEMPORAL_ADDRESS and TEMPORAL_TLS_*',
  );
}
