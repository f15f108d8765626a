import type { Connection } from '@temporalio/client';
import type { Config } from '../../platform/config.ts';
import { grpcReasonOf, type Ask } from './grpc-reason.ts';
import { reporterOf, type Finding } from './finding.ts';

/** Of IndexedValueType. */
const typeNames = [
  'Unspecified',
  'Text',
  'Keyword',
  'Int',
  'Double',
  'Bool',
  'Datetime',
  'KeywordList',
];

const report = reporterOf('attributes');

/** Whether the search attributes of temporal.config.json are registered. */
export async function checkSearchAttributes(
  connection: Connection,
  config: Pick<Config['temporal'], 'namespace' | 'searchAttributes'>,
  ask: Ask,
): Promise<Finding> {
  const { namespace, searchAttributes } = config;
  try {
    const { customAttributes } = await ask(() =>
      connection.operatorService.listSearchAttributes({ namespace }),
    );
    const registered = Object.fromEntries(
      Object.entries(customAttributes).map(([name, type]) => [name, typeNames[type] ?? 'unknown']),
    );
    return judgeSearchAttributes(registered, searchAttributes, namespace);
  } catch (error) {
    return report.warning(
      `the search attributes cannot be listed here: ${grpcReasonOf(error)}`,
      `see that the namespace has ${Object.keys(searchAttributes).join(', ')}`,
    );
  }
}

export function judgeSearchAttributes(
  registered: Record<string, string>,
  wanted: Record<string, string>,
  namespace: string,
): Finding {
  const names = Object.keys(wanted);
  const missing = names.filter((name) => !Object.hasOwn(registered, name));
  if (missing.length > 0) {
    const flags = missing.map((name) => `--name ${name} --type ${wanted[name] ?? ''}`).join(' ');
    return report.fault(
      `the namespace ${namespace} lacks ${missing.join(', ')}: no refresh can be started`,
      `run \`temporal operator search-attribute create --namespace ${namespace} ${flags}\``,
    );
  }
  const wrong = names.filter((name) => registered[name] !== wanted[name]);
  if (wrong.length > 0) {
    const types = wrong.map(
      (name) => `${name} is ${registered[name] ?? ''}, not ${wanted[name] ?? ''}`,
    );
    return report.fault(
      types.join('; '),
      'remove and create it with the type of temporal.config.json, or use another namespace',
    );
  }
  return report.ok(`all ${names.length} search attributes are registered`);
}
