"""Writers of exported models: one file for each format, and the table of them. Each serves every task.

Every artifact takes photos of any size and has their preparation and the network in its graph. Beside that way in there
is one for prepared images, which is what `transfer.load` uses. Every artifact carries its contract.
"""
