import type { Connection } from '@temporalio/client';
import type { Config } from '../../platform/config.ts';
import { grpcCodeOf, grpcCodes, grpcReasonOf, type Ask } from './grpc-reason.ts';
import { reporterOf, type Finding } from './finding.ts';

const hourMs = 3_600_000;

const report = reporterOf('namespace');

/** Whether the namespace is there and keeps histories for as long as it should. */
export async function checkNamespace(
  connection: Connection,
  config: Pick<Config['temporal'], 'namespace' | 'retentionMs'>,
  ask: Ask,
): Promise<Finding[]> {
  const { namespace } = config;
  try {
    const answer = await ask(() => connection.workflowService.describeNamespace({ namespace }));
    const retention = answer.config?.workflowExecutionRetentionTtl?.seconds;
    return [
      report.ok(`${namespace} exists`),
      ...judgeRetention(Number(retention ?? 0) * 1_000, config),
    ];
  } catch (error) {
    const code = grpcCodeOf(error);
    if (code === grpcCodes.notFound) return [namespaceMissing(config)];
    if (code === grpcCodes.permissionDenied) {
      const remedy = 'give the API key or certificate the right to write in this namespace';
      return [report.fault(`${namespace} is closed to us: ${grpcReasonOf(error)}`, remedy)];
    }
    throw error;
  }
}

export function namespaceMissing({
  namespace,
  retentionMs,
}: Pick<Config['temporal'], 'namespace' | 'retentionMs'>): Finding {
  return report.fault(
    `there is no namespace ${namespace}: no token is refreshed`,
    `correct TEMPORAL_NAMESPACE, or run \`temporal operator namespace create --retention ` +
      `${retentionMs / hourMs}h ${namespace}\``,
  );
}

/** Sealed tokens that PostgreSQL could not take lie in histories until they are stored. */
export function judgeRetention(
  actualMs: number,
  { namespace, retentionMs }: Pick<Config['temporal'], 'namespace' | 'retentionMs'>,
): Finding[] {
  if (actualMs >= retentionMs) return [];
  return [
    report.warning(
      `${namespace} keeps closed runs ${actualMs / hourMs} h, temporal.config.json asks for ` +
        `${retentionMs / hourMs} h: tokens that PostgreSQL could not take lie in histories until ` +
        'they are stored',
      `run \`temporal operator namespace update --retention ${retentionMs / hourMs}h ${namespace}\``,
    ),
  ];
}
