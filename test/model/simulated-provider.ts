import { Secret } from '../../platform/secret.ts';
import type { TokenAnswer } from '../../oauth/provider-answer.ts';
import type { TokenConnection, TokenEndpoint } from '../../oauth/token-endpoint.ts';
import type { createTokenFamilies } from '../support/token-family.ts';
import type { Call, SimulatedProcess, Simulation } from './simulation.ts';

type TokenFamilies = ReturnType<typeof createTokenFamilies>;

interface ProviderWatch {
  /** A token arrives at the provider. */
  onSend(call: Call, refreshToken: string): void;
  /** The provider has answered with a token, which is on its way. */
  onIssue(call: Call, refreshToken: string): void;
  /** The answer will not reach its process. */
  onDrop(call: Call): void;
}

/**
 * A token endpoint without HTTP, whose every turn the scheduler decides: connecting, sending and
 * answering. It asks `mayStillSend` where the real one does, and its answers are judged by real code.
 */
export function createSimulatedEndpoint(options: {
  simulation: Simulation;
  process: SimulatedProcess;
  families: TokenFamilies;
  watch: ProviderWatch;
}): TokenEndpoint {
  const { simulation, process, families, watch } = options;

  function receive(call: Call, refreshToken: string): TokenAnswer {
    watch.onSend(call, refreshToken);
    const tokens = families.rotate(refreshToken);
    if (tokens === null) return answerOf(400, { error: 'invalid_grant' });
    watch.onIssue(call, tokens.refreshToken);
    return answerOf(200, {
      access_token: tokens.accessToken,
      refresh_token: tokens.refreshToken,
      token_type: 'Bearer',
      expires_in: 3_600,
    });
  }

  function drop(call: Call, code: string): TokenAnswer {
    watch.onDrop(call);
    return { kind: 'no_answer', code };
  }

  /** Until the answer comes, its deadline passes, or it is dropped. */
  function answerWithin(call: Call, answer: TokenAnswer, deadlineMs: number): Promise<TokenAnswer> {
    return new Promise((resolve, reject) => {
      const cancel = simulation.after(process, deadlineMs, () => {
        simulation.note(`the deadline of ${process.name} passes`);
        simulation.withdraw(call, 'answer');
        resolve(drop(call, 'timeout'));
      });
      simulation
        .suspend(call, 'answer', () => answer, {
          refused: () => {
            watch.onDrop(call);
            return pageOfProxy;
          },
          lost: () => drop(call, 'ECONNRESET'),
        })
        .then(resolve, reject)
        .finally(cancel);
    });
  }

  return {
    revoke: () => Promise.reject(new Error('the model disconnects nothing')),
    introspect: () => Promise.resolve('unknown'),
    connect(request) {
      const refreshToken = request.credential?.reveal() ?? '';
      const connection: TokenConnection = {
        async send(limits) {
          const call = simulation.currentCall();
          const sentAtMs = simulation.nowMs;
          const answer = await simulation.suspend(
            call,
            'send',
            (): TokenAnswer =>
              limits.mayStillSend()
                ? receive(call, refreshToken)
                : { kind: 'not_sent', class: 'transient', code: 'send_limit' },
            { refused: () => unavailable, lost: () => drop(call, 'ECONNRESET') },
          );
          if (answer.kind !== 'answer' || answer === unavailable) return answer;
          return answerWithin(
            call,
            answer,
            Math.max(sentAtMs + limits.deadlineMs - simulation.nowMs, 0),
          );
        },
        close: () => undefined,
      };
      return simulation.suspend<Awaited<ReturnType<TokenEndpoint['connect']>>>(
        simulation.currentCall(),
        'connect',
        () => connection,
        { refused: () => refusedConnection, lost: () => refusedConnection },
      );
    },
  };
}

const refusedConnection = { kind: 'not_sent', class: 'transient', code: 'ECONNREFUSED' } as const;
/** Nothing was spent, and it is known. */
const unavailable = answerOf(503, { error: 'temporarily_unavailable' });
/** Whatever happened behind the proxy. */
const pageOfProxy: TokenAnswer = {
  kind: 'answer',
  status: 502,
  headers: { 'content-type': 'text/html' },
  body: new Secret('<html>Bad gateway</html>'),
};

function answerOf(status: number, members: object): TokenAnswer {
  return {
    kind: 'answer',
    status,
    headers: { 'content-type': 'application/json' },
    body: new Secret(JSON.stringify(members)),
  };
}
