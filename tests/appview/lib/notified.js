// Bluesky's own code around `app.bsky.contact.sendNotification`: the AppView's XRPC server with its lexicon, its check
// of admin passwords and its handler. Only the service behind it that keeps the notifications stands in.

import { once } from 'node:events'
import { createRequire } from 'node:module'
import worker from 'node:worker_threads'
import zlib from 'node:zlib'
import { createServer as createXrpcServer } from '@atproto/xrpc-server'

// The package loads an HTTP client that needs these two of a newer Node.js; nothing that runs here uses it.
worker.markAsUncloneable ??= () => {}
zlib.createZstdDecompress ??= () => {
  throw new Error('this Node.js has no Zstandard')
}

const DIST = '../node_modules/@atproto/bsky/dist'
const { AuthVerifier } = await import(`${DIST}/auth-verifier.js`)
const { createStashClient } = await import(`${DIST}/stash.js`)
const { handler: error } = await import(`${DIST}/error.js`)
const { default: sendNotification } = await import(`${DIST}/api/app/bsky/contact/sendNotification.js`)
// The AppView's own Express, which is no dependency of ours.
const express = createRequire(new URL(`${DIST}/index.js`, import.meta.url))('express')

/** An AppView that takes notifications with `password`, and whether it is set up for contacts. */
export class NotifiedAppView {
  static async start({ password, contacts = true }) {
    const appview = new NotifiedAppView()
    /** What the AppView asked to be kept, in order. */
    appview.kept = []
    const bsyncClient = { putOperation: async (operation) => appview.kept.push(operation) }
    const server = createXrpcServer([], { validateResponse: true })
    sendNotification(server, {
      authVerifier: new AuthVerifier({}, { ownDid: 'did:web:appview.test', alternateAudienceDids: [], adminPasses: [password] }),
      rolodexClient: contacts ? {} : undefined,
      stashClient: createStashClient(bsyncClient),
    })
    const app = express()
    app.use(server.router)
    app.use(error)
    appview.listener = app.listen(0, '127.0.0.1')
    await once(appview.listener, 'listening')
    appview.url = `http://127.0.0.1:${appview.listener.address().port}`
    return appview
  }

  async end() {
    this.listener.close()
    this.listener.closeAllConnections()
    await once(this.listener, 'close')
  }
}
