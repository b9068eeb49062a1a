"""The paper's figures and tables, drawn from what the steps wrote and from nothing else.

`results` reads, `jet_images` and `performance` and `limits` draw one family of figures each,
`diagram` the process, `summary` fills the `table`; `style` is how all of them look. A figure is a
function of the results that returns a `style.Drawing`: the figure and the points in it.
"""
