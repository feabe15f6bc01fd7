// A homeserver of Matrix on loopback, as far as an identity server and its clients need one: it gives its accounts OpenID
// tokens (client-server API, "OpenID") and tells whose they are (server-server API, "OpenID").

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createClient } from 'matrix-js-sdk'

export class Homeserver {
  static async start() {
    const homeserver = new Homeserver()
    homeserver.server = createServer((request, response) => homeserver.#answer(request, response))
    homeserver.server.listen(0, '127.0.0.1')
    await once(homeserver.server, 'listening')
    homeserver.name = `127.0.0.1:${homeserver.server.address().port}`
    homeserver.url = `http://${homeserver.name}`
    return homeserver
  }

  /** Accounts by their access tokens, and by the OpenID tokens that they were given. */
  #accounts = new Map()
  #openId = new Map()

  #answer(request, response) {
    const url = new URL(request.url, this.url)
    const send = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(body))
    }
    if (url.pathname === '/_matrix/federation/v1/openid/userinfo') {
      const sub = this.#openId.get(url.searchParams.get('access_token'))
      if (sub) return send(200, { sub })
      return send(401, { errcode: 'M_UNKNOWN_TOKEN', error: 'Access token unknown or expired' })
    }
    const wanted = /^\/_matrix\/client\/v3\/user\/([^/]+)\/openid\/request_token$/.exec(url.pathname)
    const account = this.#accounts.get(request.headers.authorization?.replace(/^Bearer /, ''))
    if (wanted && account && decodeURIComponent(wanted[1]) === account) return send(200, this.openId(account))
    send(404, { errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request' })
  }

  id(localpart) {
    return `@${localpart}:${this.name}`
  }

  /** A new OpenID token for an account, or for whom else this homeserver says. */
  openId(sub) {
    const token = randomBytes(16).toString('hex')
    this.#openId.set(token, sub)
    return { access_token: token, expires_in: 3600, matrix_server_name: this.name, token_type: 'Bearer' }
  }

  /** The SDK's client of an account here, which knows this identity server. */
  client(localpart, identityServer) {
    const accessToken = randomBytes(16).toString('hex')
    this.#accounts.set(accessToken, this.id(localpart))
    return createClient({
      baseUrl: this.url,
      idBaseUrl: identityServer,
      userId: this.id(localpart),
      accessToken,
      logger: silent,
    })
  }

  async end() {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }
}

const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, getChild: () => silent }
