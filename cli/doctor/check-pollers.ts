import type { Connection } from '@temporalio/client';
import type { Config } from '../../platform/config.ts';
import { grpcReasonOf, type Ask } from './grpc-reason.ts';
import { reporterOf, type Finding } from './finding.ts';

/** Of TaskQueueType. */
const workflowQueue = 1 as unknown as TaskQueueType;
const activityQueue = 2 as unknown as TaskQueueType;

type Request = Parameters<Connection['workflowService']['describeTaskQueue']>[0];
type TaskQueueType = NonNullable<Request['taskQueueType']>;

const report = reporterOf('task queue');

/** Whether workers poll the Task Queue of refreshes. */
export async function checkPollers(
  connection: Connection,
  config: Pick<Config['temporal'], 'namespace' | 'taskQueues'>,
  ask: Ask,
): Promise<Finding[]> {
  const taskQueue = config.taskQueues.refresh;
  const count = async (taskQueueType: TaskQueueType): Promise<number> => {
    const { pollers } = await ask(() =>
      connection.workflowService.describeTaskQueue({
        namespace: config.namespace,
        taskQueue: { name: taskQueue },
        taskQueueType,
      }),
    );
    return new Set(pollers.map(({ identity }) => identity)).size;
  };
  try {
    const [workflow, activity] = await Promise.all([count(workflowQueue), count(activityQueue)]);
    return [judgePollers(taskQueue, { workflow, activity })];
  } catch (error) {
    return [
      report.warning(
        `who polls ${taskQueue} cannot be asked: ${grpcReasonOf(error)}`,
        'see the Task Queue in the Temporal UI',
      ),
    ];
  }
}

/** Temporal remembers a poller for some minutes after it was last seen. */
export function judgePollers(
  taskQueue: string,
  pollers: { workflow: number; activity: number },
): Finding {
  const { workflow, activity } = pollers;
  if (workflow > 0 && activity > 0) {
    return report.ok(`${taskQueue} was polled by ${activity} workers in the last minutes`);
  }
  return report.warning(
    `nobody polls ${taskQueue} for ${workflow > 0 ? 'Activities' : 'Workflows'}: nothing is refreshed`,
    'start `token-manager worker`; if one runs, compare namespace and taskQueues.refresh with its own',
  );
}
